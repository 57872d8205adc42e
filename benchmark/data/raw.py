"""What a kind of dataset provides: facts that are known in advance, and the splits to be written to disk."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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
            ascending indices at a time, so that a set larger than memory passes through.
        difficulty: float32 [samples], NaN where unknown; None where the dataset has no such dial.
    """

    labels: NDArray[np.int64]
    read: Callable[[NDArray[np.int64]], NDArray[np.uint8]]
    difficulty: NDArray[np.float32] | None = None

    def subset(self, indices: NDArray[np.int64]) -> "RawSplit":
        """The samples at `indices`, in that order."""
        difficulty = None if self.difficulty is None else self.difficulty[indices]
        return RawSplit(self.labels[indices], lambda chosen: self.read(indices[chosen]), difficulty)


@dataclass(frozen=True)
class RawDataset:
    """The splits of a dataset; `difficulty_name` is the axis label of its dial, if it has one."""

    classes: tuple[str, ...]
    train: RawSplit
    validation: RawSplit
    test: RawSplit
    difficulty_name: str | None = None
