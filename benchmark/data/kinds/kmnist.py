"""KMNIST (Clanuwat et al. 2018): cursive Japanese characters."""

from pathlib import Path

from torchvision import datasets

from benchmark.data.raw import RawDataset
from benchmark.data.torchvision_sets import mnist_family, raw_dataset


def generate(
    folder: Path, *, validation: float = 0.1, train_samples: int | None = None, test_samples: int | None = None
) -> RawDataset:
    """Grey images [1, 28, 28] in 10 classes: 60,000 to train and 10,000 to test.

    Args:
        folder: the data folder; the files lie in `KMNIST/raw`.
        validation: share or number of the official training samples to validate on.
        train_samples: at most so many of the training samples that remain; None for all.
        test_samples: at most so many of the official test samples; None for all.
    """
    train, test = mnist_family(datasets.KMNIST, "kmnist", folder)
    return raw_dataset(datasets.KMNIST.classes, train, test, validation, train_samples, test_samples)
