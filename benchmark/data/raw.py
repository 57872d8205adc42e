"""What a kind of dataset provides: facts that are known in advance, and the splits to be written to disk."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import UserError


@dataclass(frozen=True)
class Facts:
    """What is known of a dataset before it is downloaded or generated.

    Attributes:
        image_shape: (channels, height, width).
        classes: the classes' names, or their numbers where only the raw files name them.
        train, validation, test: samples of each split.
    """

    image_shape: tuple[int, int, int]
    classes: tuple[str, ...]
    train: int
    validation: int
    test: int


@dataclass(frozen=True)
class RawSplit:
    """A split that is still to be written to disk.

    Attributes:
        labels: int64 [samples].
        read: gives the images of some samples, uint8 [len(indices), channels, height, width]; called with a few hundred
            ascending indices at a time, so that a set may be larger than memory.
        difficulty: float32 [samples], NaN where unknown; None where the dataset has no such dial.
        group: int8 [samples], indices into the dataset's `groups`; None where the dataset has none.
    """

    labels: NDArray[np.int64]
    read: Callable[[NDArray[np.int64]], NDArray[np.uint8]]
    difficulty: NDArray[np.float32] | None = None
    group: NDArray[np.int8] | None = None

    def subset(self, indices: NDArray[np.int64]) -> "RawSplit":
        """The samples at `indices`, in that order."""
        return RawSplit(
            labels=self.labels[indices],
            read=lambda chosen: self.read(indices[chosen]),
            difficulty=None if self.difficulty is None else self.difficulty[indices],
            group=None if self.group is None else self.group[indices],
        )


@dataclass(frozen=True)
class RawDataset:
    """The splits of a dataset.

    Attributes:
        classes: the classes' names; labels are indices into it.
        difficulty_name: axis label of the dial of difficulty, if there is one.
        groups: names of the groups into which samples fall, such as ways to make a question unanswerable; empty where
            there are none.
    """

    classes: tuple[str, ...]
    train: RawSplit
    validation: RawSplit
    test: RawSplit
    difficulty_name: str | None = None
    groups: tuple[str, ...] = ()

    def check(self, kind: str) -> None:
        """Make sure that what a kind provides can be trained and judged on, before anything is written.

        Raises:
            UserError: there are fewer than two classes, a split is empty, a label or group does not exist, or arrays of
                a split differ in length.
        """
        if len(self.classes) < 2:
            raise UserError(f"{kind}: a dataset needs at least 2 classes, and this one has {len(self.classes)}")
        for name in ("train", "validation", "test"):
            split: RawSplit = getattr(self, name)
            _check_indices(f"{kind}: {name} labels", split.labels, len(self.classes), "classes")
            if split.group is not None or self.groups:
                group = np.empty(0) if split.group is None else split.group
                _check_indices(f"{kind}: {name} groups", group, len(self.groups), "groups")
            for values in (split.difficulty, split.group):
                if values is not None and values.shape != split.labels.shape:
                    raise UserError(
                        f"{kind}: the {name} split has {split.labels.shape} labels, but {values.shape} values of "
                        "difficulty or group"
                    )


def _check_indices(what: str, values: NDArray[Any], count: int, named: str) -> None:
    """Make sure that there are values, and that they are whole numbers from 0 to below `count`."""
    if values.ndim != 1 or not len(values) or values.dtype.kind not in "iu":
        raise UserError(f"{what} must be a list of whole numbers, not {values.dtype} {values.shape}")
    wrong = np.flatnonzero((values < 0) | (values >= count))
    if len(wrong):
        raise UserError(
            f"{what} must be from 0 to {count - 1}, as there are {count} {named}; sample {wrong[0]} has "
            f"{values[wrong[0]]}, and {len(wrong)} of {len(values)} samples are out of range"
        )
