"""Words that say nothing about a picture or a person on their own: the one list that all who count words share."""

from __future__ import annotations

STOP_WORDS = frozenset(
    """
    a an the this that these those some any each every other another
    and or but nor so yet if then than as while because
    of in on at by for with from to into onto over under above below before after behind between
    beside near through across up down out off about around against without
    during since until among along inside outside upon within beyond toward towards
    is are was were be been being am has have had having do does did done
    can could will would shall should may might must
    i you he she it we they me him her us them my your his its our their mine yours hers ours theirs
    myself yourself himself herself itself ourselves themselves
    who whom whose which what where when why how there here
    only also very too just most more much many few all
    someone somebody something
    """.split()
)
"""Articles, pronouns, prepositions, conjunctions, auxiliaries. Not among them: what may be the whole answer to a
question or turn it round (yes, no, not, none, one, both), since ``generators.consensus`` asks which choice a text
speaks for."""
