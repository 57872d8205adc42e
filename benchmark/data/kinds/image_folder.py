"""Any images that lie in one folder a class, as torchvision's `ImageFolder` reads them."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torchvision import datasets
from torchvision.transforms.v2 import functional

from benchmark.data.raw import Facts, RawDataset, RawSplit
from benchmark.data.torchvision_sets import damaged, official_facts, raw_dataset
from benchmark.errors import UserError


def generate(
    folder: Path,
    *,
    path: str,
    size: int = 64,
    validation: float = 0.1,
    train_samples: int | None = None,
    test_samples: int | None = None,
) -> RawDataset:
    """Colour images [3, size, size]: the shorter side scaled to `size` (bilinear, antialiased), the centre cut out.

    They are decoded once, a few hundred at a time, so the set may be larger than memory.

    Args:
        folder: the data folder.
        path: the images' folder, relative to the data folder or absolute, with images in `train/<class>/` and
            `test/<class>/` (or `val/<class>/`, as in ImageNet, whose validation images serve as test split).
        size: side of the prepared images, in pixels.
        validation: share or number of the images in `train` to validate on.
        train_samples: at most so many of the training samples that remain; None for all.
        test_samples: at most so many of the images in `test`; None for all.
    """
    train, test = _image_folders(folder / path)
    splits = (_split(train, size), _split(test, size))
    return raw_dataset(train.classes, *splits, validation, train_samples, test_samples)


def describe(folder: Path, *, path: str, size: int, **amounts: Any) -> Facts:
    """Shape, classes and sizes for the same parameters: the images are counted, not opened."""
    train, test = _image_folders(folder / path)
    return official_facts((3, size, size), train.classes, len(train), len(test), **amounts)


def _image_folders(root: Path) -> tuple[datasets.ImageFolder, datasets.ImageFolder]:
    """The folders of training and test images, which hold the same classes."""
    test_folder = root / "test" if (root / "test").is_dir() else root / "val"
    train, test = _image_folder(root / "train"), _image_folder(test_folder)
    if train.classes != test.classes:
        differing = ", ".join(sorted(set(train.classes) ^ set(test.classes)))
        raise UserError(f"{train.root} and {test.root} hold different classes; in only one of them: {differing}")
    return train, test


def _image_folder(root: Path) -> datasets.ImageFolder:
    try:
        return datasets.ImageFolder(root)
    except FileNotFoundError as error:
        raise UserError(
            f"image_folder: {root} holds no images in one folder a class ({error}); "
            "lay them in train/<class>/ and test/<class>/ under the configured `path`"
        ) from error


def _split(dataset: datasets.ImageFolder, size: int) -> RawSplit:
    def read(indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        return np.stack([_decode(dataset.samples[index][0], dataset, size) for index in indices])

    return RawSplit(np.array(dataset.targets, dtype=np.int64), read)


def _decode(path: str, dataset: datasets.ImageFolder, size: int) -> NDArray[np.uint8]:
    """One image, uint8 [3, size, size]."""
    try:
        image = dataset.loader(path)
    except OSError as error:  # Pillow's errors are among them
        raise damaged(Path(path)) from error
    resized = functional.center_crop(functional.resize(image, [size], antialias=True), [size, size])
    return np.asarray(resized).transpose(2, 0, 1)
