"""The kinds of datasets.

A new kind is one new file in this package; its name in configurations is the file's name, and nothing else needs
editing. It defines

    generate(folder, *, <parameters>) -> RawDataset

where `folder` is the data folder, which holds raw files. The keyword-only parameters are the user's: the configuration
is checked against their annotations (built-in types and `Literal`) and literal defaults. `generate` raises `UserError`
where files are missing or damaged, and for values that make no sense. It should also define

    describe(folder, *, <the same parameters, without defaults>) -> Facts

which is quick and needs no download, so that costs can be estimated without preparing the dataset.

A kind whose raw files are the user's own, and may change, defines

    source(folder, *, <the same parameters, without defaults>) -> str | None

which hashes what prepared data is made of, without reading it whole, and gives None where the raw files are gone.

A kind whose `generate` gives other data for the same parameters than it did before raises its module's constant
`VERSION` (1 where there is none): results and prepared data of the earlier version are then stale. `RETIRED` names
parameters that no longer exist, with the value under which old results remain valid.
"""

import inspect
from collections.abc import Callable
from typing import Any

from benchmark.data.raw import Facts, RawDataset
from benchmark.experiment import kinds


def find_kind(name: str) -> Callable[..., RawDataset]:
    """The `generate` of the kind of this name; only its own file is imported.

    Raises:
        UserError: there is no such kind; the message lists those that exist.
    """
    return kinds.find("dataset", name).load()


def find_description(name: str) -> Callable[..., Facts] | None:
    """The `describe` beside the `generate` of the kind of this name, if there is one.

    Raises:
        UserError: see `find_kind`.
    """
    return getattr(inspect.getmodule(find_kind(name)), "describe", None)


def source_of(generate: Callable[..., RawDataset]) -> Callable[..., str | None] | None:
    """The `source` beside a kind's `generate`, if there is one."""
    return getattr(inspect.getmodule(generate), "source", None)


def revision(generate: Callable[..., RawDataset]) -> dict[str, Any]:
    """What else than parameters decides a kind's data: its version, and the installed package that it comes from."""
    version = getattr(inspect.getmodule(generate), "VERSION", 1)
    distribution = kinds.distribution_of(generate.__module__)
    found = {"kind_version": None if version == 1 else version, "distribution": distribution}
    return {key: value for key, value in found.items() if value is not None}


def all_kinds() -> dict[str, Callable[..., RawDataset]]:
    """The `generate` of every kind that has a short name."""
    return {name: find_kind(name) for name in kinds.names("dataset")}
