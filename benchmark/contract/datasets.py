"""The contract of datasets: each function checks one thing that the harness relies on, and asserts it.

A function's name says what must hold.  `python -m benchmark check --kind` runs all checks over a kind.
"""

import inspect
import tempfile
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from benchmark.data import Dataset, facts, load, prepare
from benchmark.data.store import SPLITS
from benchmark.experiment.kinds import Kind


class DatasetKind:
    """A kind of dataset under test, with its default parameters."""

    def __init__(self, kind: Kind, folder: Path) -> None:
        self.kind = kind
        self.folder = folder

    @cached_property
    def dataset(self) -> Dataset:
        """Prepared once."""
        prepare(self.kind.name, {}, self.folder)
        return load(self.kind.name, {}, self.folder, verify=True)


def parameters_can_be_read_without_importing(kind: DatasetKind) -> None:
    folder, *options = inspect.signature(kind.kind.load()).parameters.values()
    assert folder.name == "folder"
    assert all(option.kind is option.KEYWORD_ONLY for option in options)
    read = kind.kind.parameters.model_fields
    assert {option.name: option.default for option in options} == {name: each.default for name, each in read.items()}


def every_parameter_is_explained(kind: DatasetKind) -> None:
    text = inspect.getdoc(kind.kind.load()) or ""
    assert not [name for name in kind.kind.parameters.model_fields if f"{name}: " not in text]


def labels_are_classes_and_splits_are_not_empty(kind: DatasetKind) -> None:
    for split in SPLITS:
        labels = getattr(kind.dataset, split).labels
        assert len(labels), split
        assert labels.min() >= 0, split
        assert labels.max() < len(kind.dataset.classes), split


def the_same_parameters_give_the_same_data(kind: DatasetKind) -> None:
    with tempfile.TemporaryDirectory(dir=kind.folder) as again:
        prepare(kind.kind.name, {}, Path(again))
        assert load(kind.kind.name, {}, Path(again)).fingerprint == kind.dataset.fingerprint


def what_is_described_in_advance_is_what_is_prepared(kind: DatasetKind) -> None:
    with tempfile.TemporaryDirectory(dir=kind.folder) as empty:
        described = facts(kind.kind.name, {}, Path(empty))
    assert described.image_shape == kind.dataset.image_shape
    assert described.classes == kind.dataset.classes
    sizes = [len(getattr(kind.dataset, split).labels) for split in SPLITS]
    assert [getattr(described, split) for split in SPLITS] == sizes


CHECKS: tuple[Callable[[DatasetKind], None], ...] = (
    parameters_can_be_read_without_importing,
    every_parameter_is_explained,
    labels_are_classes_and_splits_are_not_empty,
    the_same_parameters_give_the_same_data,
    what_is_described_in_advance_is_what_is_prepared,
)
