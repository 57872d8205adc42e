"""The kinds of datasets.

A new kind is one new file in this package with a function ``generate(folder, *, <parameters>) -> RawDataset``; its name
in configurations is the file's name, and nothing else needs editing.  `folder` is the data folder, in which raw files
lie.  The keyword-only parameters are the user's: the configuration is checked against their annotations (built-in types
and `Literal`) and literal defaults.  `generate` raises `UserError` where files are missing or damaged, and for values
that make no sense.
"""

import importlib
import pkgutil
from collections.abc import Callable

from benchmark.data.raw import RawDataset


def find_kind(name: str) -> Callable[..., RawDataset]:
    """The `generate` of the kind of this name; only its own file is imported.

    Raises:
        KeyError: no file defines it; the message lists those that exist.
    """
    names = _names()
    if name not in names:
        raise KeyError(f"no dataset kind {name!r}; there are {', '.join(names)}")
    return importlib.import_module(f"{__name__}.{name}").generate


def all_kinds() -> dict[str, Callable[..., RawDataset]]:
    """Every kind's `generate`, by name."""
    return {name: find_kind(name) for name in _names()}


def _names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__))
