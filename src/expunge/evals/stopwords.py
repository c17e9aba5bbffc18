"""Words that say nothing about a picture or a person on their own."""

STOP_WORDS = frozenset(
    """
    a an the this that these those some any no each every other another
    and or but nor so yet if then than as while because
    of in on at by for with from to into onto over under above below before after behind between
    beside near through across up down out off about around against without
    is are was were be been being am has have had having do does did done
    can could will would shall should may might must
    i you he she it we they me him her us them my your his its our their mine yours hers ours theirs
    who whom whose which what where when why how there here
    not only also very too just most more much many few all both
    one someone somebody something
    """.split()
)
