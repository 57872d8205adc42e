"""MNIST (LeCun, Bottou, Bengio & Haffner 1998): handwritten digits."""

from pathlib import Path
from typing import Any

from torchvision import datasets

from benchmark.data.raw import Facts, RawDataset
from benchmark.data.torchvision_sets import mnist_family, official_facts, raw_dataset


def generate(
    folder: Path, *, validation: float = 0.1, train_samples: int | None = None, test_samples: int | None = None
) -> RawDataset:
    """Grey images [1, 28, 28] in 10 classes: 60,000 to train and 10,000 to test.

    Args:
        folder: the data folder, with the files in `MNIST/raw`.
        validation: share or number of the official training samples to validate on.
        train_samples: at most this many of the remaining training samples; None for all.
        test_samples: at most this many of the official test samples; None for all.
    """
    train, test = mnist_family(datasets.MNIST, "mnist", folder)
    return raw_dataset(datasets.MNIST.classes, train, test, validation, train_samples, test_samples)


def describe(folder: Path, **amounts: Any) -> Facts:
    """The published sizes, less what `generate` sets aside and leaves out for the same parameters."""
    return official_facts((1, 28, 28), datasets.MNIST.classes, 60_000, 10_000, **amounts)
