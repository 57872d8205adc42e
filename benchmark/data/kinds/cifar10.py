"""CIFAR-10 (Krizhevsky 2009): small photographs of things and animals."""

from pathlib import Path
from typing import Any

from torchvision import datasets

from benchmark.data.raw import Facts, RawDataset
from benchmark.data.torchvision_sets import cifar_family, official_facts, raw_dataset


def generate(
    folder: Path, *, validation: float = 0.1, train_samples: int | None = None, test_samples: int | None = None
) -> RawDataset:
    """Colour images [3, 32, 32] in 10 classes: 50,000 to train and 10,000 to test.

    Args:
        folder: the data folder, with the files in `cifar-10-batches-py`.
        validation: share or number of the official training samples to validate on.
        train_samples: at most this many of the remaining training samples; None for all.
        test_samples: at most this many of the official test samples; None for all.
    """
    classes, train, test = cifar_family(datasets.CIFAR10, "cifar10", folder)
    return raw_dataset(classes, train, test, validation, train_samples, test_samples)


def describe(folder: Path, **amounts: Any) -> Facts:
    """The published sizes, less what `generate` sets aside and leaves out for the same parameters."""
    return official_facts((3, 32, 32), range(10), 50_000, 10_000, **amounts)
