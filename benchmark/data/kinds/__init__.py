"""The kinds of datasets.

A new kind is one new file in this package that defines one subclass of `Kind`; its name in configurations is the file's
name.  Nothing else needs editing.
"""

import importlib
import pkgutil

from benchmark.data.kind import Kind


def find_kind(name: str) -> type[Kind]:
    """The kind of this name; only its own file is imported.  Its signature tells the parameters.

    Raises:
        KeyError: no file defines it; the message lists those that exist.
    """
    names = [module.name for module in pkgutil.iter_modules(__path__)]
    if name not in names:
        raise KeyError(f"no dataset kind {name!r}; there are {', '.join(names)}")
    module = importlib.import_module(f"{__name__}.{name}")
    defined = [item for item in vars(module).values() if isinstance(item, type) and item.__module__ == module.__name__]
    kinds = [item for item in defined if issubclass(item, Kind)]
    if len(kinds) != 1:
        raise TypeError(f"{module.__name__} defines {len(kinds)} kinds of datasets where it should define one")
    return kinds[0]


def all_kinds() -> dict[str, type[Kind]]:
    """Every kind, by name."""
    return {module.name: find_kind(module.name) for module in pkgutil.iter_modules(__path__)}
