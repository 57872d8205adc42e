"""What a kind of dataset is: parameters, and a way to read or generate its three splits."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray


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
    """What a kind hands over to be written to disk; `difficulty_name` is the axis label of the dial, if there is one."""

    classes: tuple[str, ...]
    train: RawSplit
    validation: RawSplit
    test: RawSplit
    difficulty_name: str | None = None


class Kind(ABC):
    """A kind of dataset, with its parameters as fields.

    A subclass is a ``@dataclass(frozen=True, kw_only=True)`` whose annotated fields, all with defaults, are the user's
    parameters: the configuration is checked against its signature.  `__post_init__` raises `UserError` for values that
    make no sense.

    Attributes:
        version: raised when the same parameters come to give other arrays, so that old prepared files are not taken.
    """

    version: ClassVar[int] = 1

    @abstractmethod
    def read(self, folder: Path) -> RawDataset:
        """Read or generate the dataset; `folder` is the data folder, under which raw files lie.

        Raises:
            UserError: files are missing or damaged, and how to mend it.
        """
