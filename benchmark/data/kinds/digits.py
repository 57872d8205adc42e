"""scikit-learn's handwritten digits: 1,797 images of 8x8 pixels, ships with the library."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from benchmark.data.kind import Kind, RawDataset, RawSplit
from benchmark.data.splits import cap, hold_out


@dataclass(frozen=True, kw_only=True)
class Digits(Kind):
    """The test half of UCI's "Optical Recognition of Handwritten Digits" (Alpaydin & Kaynak 1998), 17 grey levels.

    Args:
        test: share or number of all samples to test on; the set has no official split.
        validation: share or number of the other samples to validate on.
        train_samples: at most so many training samples; None for all.
    """

    test: float = 0.2
    validation: float = 0.1
    train_samples: int | None = None

    def read(self, folder: Path) -> RawDataset:
        digits = load_digits()
        images = np.rint(digits.images[:, None] * (255 / 16)).astype(np.uint8)
        everything = RawSplit(digits.target.astype(np.int64), images.__getitem__)
        rest, test = hold_out(everything, self.test, "test")
        train, validation = hold_out(rest, self.validation, "validation")
        classes = tuple(str(digit) for digit in range(10))
        return RawDataset(classes, cap(train, self.train_samples, "train_samples"), validation, test)
