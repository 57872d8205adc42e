"""The methods of the suite: DynaLay's peers here, DynaLay itself in its own package.

A method is one file that defines a class with ``__init__(self, image_shape, classes, *, parameters...)``; the file's
name is its name in configurations.  A new method is one new file in this package; nothing else needs editing.
`benchmark.experiment.kinds` finds methods, those of other packages too.
"""
