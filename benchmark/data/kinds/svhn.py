"""SVHN (Netzer et al. 2011): house numbers, photographed in the street."""

from pathlib import Path
from typing import Any

from torchvision import datasets

from benchmark.data.raw import Facts, RawDataset, RawSplit
from benchmark.data.torchvision_sets import RawFiles, official_facts, raw_dataset


def generate(
    folder: Path, *, validation: float = 0.1, train_samples: int | None = None, test_samples: int | None = None
) -> RawDataset:
    """Colour images [3, 32, 32] of 10 digits: 73,257 to train and 26,032 to test; the "extra" part is not used.

    Args:
        folder: the data folder, which holds the files.
        validation: share or number of the official training samples to validate on.
        train_samples: at most this many of the remaining training samples; None for all.
        test_samples: at most this many of the official test samples; None for all.
    """
    listed = [datasets.SVHN.split_list[split] for split in ("train", "test")]
    files = {file: md5 for _, file, md5 in listed}

    def fetch(root: Path) -> None:
        for split in ("train", "test"):
            datasets.SVHN(root, split, download=True)

    RawFiles("svhn", files, archives={}, urls=[listed[0][0]], fetch=fetch).provide(folder)

    def read(split: str) -> RawSplit:
        dataset = datasets.SVHN(folder, split)
        return RawSplit(dataset.labels, dataset.data.__getitem__)

    classes = [str(digit) for digit in range(10)]
    return raw_dataset(classes, read("train"), read("test"), validation, train_samples, test_samples)


def describe(folder: Path, **amounts: Any) -> Facts:
    """The published sizes, less what `generate` sets aside and leaves out for the same parameters."""
    return official_facts((3, 32, 32), range(10), 73_257, 26_032, **amounts)
