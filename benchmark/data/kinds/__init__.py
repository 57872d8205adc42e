"""The kinds of datasets.

A new kind is one new file in this package; its name in configurations is the file's name, and nothing else needs
editing. It defines

    generate(folder, *, <parameters>) -> RawDataset

where `folder` is the data folder, which holds raw files. The keyword-only parameters are the user's: the configuration
is checked against their annotations (built-in types and `Literal`) and literal defaults. `generate` raises `UserError`
where files are missing or damaged, and for values that make no sense. It should also define

    describe(folder, *, <the same parameters, without defaults>) -> Facts

which is quick and needs no download, so that costs can be estimated without preparing the dataset.
"""

import importlib
import pkgutil
from collections.abc import Callable

from benchmark.data.raw import Facts, RawDataset


def find_kind(name: str) -> Callable[..., RawDataset]:
    """The `generate` of the kind of this name; only its own file is imported.

    Raises:
        KeyError: no file defines it; the message lists those that exist.
    """
    names = _names()
    if name not in names:
        raise KeyError(f"no dataset kind {name!r}; there are {', '.join(names)}")
    return importlib.import_module(f"{__name__}.{name}").generate


def find_description(name: str) -> Callable[..., Facts] | None:
    """The `describe` that stands beside the `generate` of the kind of this name, if there is one.

    Raises:
        KeyError: see `find_kind`.
    """
    return getattr(importlib.import_module(find_kind(name).__module__), "describe", None)


def all_kinds() -> dict[str, Callable[..., RawDataset]]:
    """Every kind's `generate`, by name."""
    return {name: find_kind(name) for name in _names()}


def _names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__))
