"""A grid of methods, models, tasks, scenarios, sizes and seeds: only missing cells run, then the tables are drawn.

``suite`` reads what is wanted, ``plan`` turns it into cells and table blocks, ``cells`` keeps them on disk,
``workshop`` measures one, ``runner`` drives the workers, ``harvest`` gathers what is there for ``report.grid``,
``drawing`` writes the files, ``board`` shows how far it is, ``glance`` looks without measuring,
as long as the plan's ``grounds`` are what they were.
"""
