"""scikit-learn's handwritten digits: 1,797 images of 8x8 pixels that ship with the library."""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from benchmark.data.raw import Facts, RawDataset, RawSplit
from benchmark.data.splits import cap, capped, held_out, hold_out

_CLASSES = tuple(map(str, range(10)))
_SAMPLES = 1797


def generate(
    folder: Path, *, test: float = 0.2, validation: float = 0.1, train_samples: int | None = None
) -> RawDataset:
    """The test half of UCI's "Optical Recognition of Handwritten Digits" (Alpaydin & Kaynak 1998), 17 grey levels.

    Args:
        folder: not used.
        test: share or number of all samples to test on; the set has no official split.
        validation: share or number of the other samples to validate on.
        train_samples: at most this many training samples; None for all.
    """
    digits = load_digits()
    images = np.rint(digits.images[:, None] * (255 / 16)).astype(np.uint8)
    everything = RawSplit(digits.target.astype(np.int64), images.__getitem__)
    rest, tested = hold_out(everything, test, "test")
    train, validated = hold_out(rest, validation, "validation")
    return RawDataset(_CLASSES, cap(train, train_samples, "train_samples"), validated, tested)


def describe(folder: Path, *, test: float, validation: float, train_samples: int | None) -> Facts:
    """Shape, classes and sizes for the same parameters, without loading anything."""
    tested = held_out(test, _SAMPLES, "test")
    validated = held_out(validation, _SAMPLES - tested, "validation")
    train = capped(train_samples, _SAMPLES - tested - validated, "train_samples")
    return Facts((1, 8, 8), _CLASSES, train, validated, tested)
