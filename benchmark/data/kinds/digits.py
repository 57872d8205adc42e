"""scikit-learn's handwritten digits: 1,797 images of 8x8 pixels that ship with the library."""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from benchmark.data.raw import RawDataset, RawSplit
from benchmark.data.splits import cap, hold_out


def generate(
    folder: Path, *, test: float = 0.2, validation: float = 0.1, train_samples: int | None = None
) -> RawDataset:
    """The test half of UCI's "Optical Recognition of Handwritten Digits" (Alpaydin & Kaynak 1998), 17 grey levels.

    Args:
        folder: not looked at.
        test: share or number of all samples to test on; the set has no official split.
        validation: share or number of the other samples to validate on.
        train_samples: at most so many training samples; None for all.
    """
    digits = load_digits()
    images = np.rint(digits.images[:, None] * (255 / 16)).astype(np.uint8)
    everything = RawSplit(digits.target.astype(np.int64), images.__getitem__)
    rest, tested = hold_out(everything, test, "test")
    train, validated = hold_out(rest, validation, "validation")
    classes = tuple(str(digit) for digit in range(10))
    return RawDataset(classes, cap(train, train_samples, "train_samples"), validated, tested)
