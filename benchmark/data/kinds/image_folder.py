"""Any images, sorted into one folder per class."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision import datasets
from torchvision.datasets.folder import IMG_EXTENSIONS

from benchmark.data import image_files
from benchmark.data.raw import Facts, RawDataset, RawSplit
from benchmark.data.torchvision_sets import official_facts, raw_dataset
from benchmark.errors import UserError

VERSION = 2  # transparent, rotated and deep grey images changed


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

    Every file's header is checked first, and bad files are listed. Then images are decoded once, a few hundred at a
    time, so the set may be larger than memory.

    Args:
        folder: the data folder.
        path: the images' folder, relative to the data folder or absolute, with images in `train/<class>/` and
            `test/<class>/` (or `val/<class>/`, as in ImageNet, whose validation images serve as the test split).
        size: side of the prepared images, in pixels.
        validation: share or number of the images in `train` to validate on.
        train_samples: at most this many of the remaining training samples; None for all.
        test_samples: at most this many of the images in `test`; None for all.
    """
    train, test = _image_folders(folder / path, size)
    paths = [file for file, _ in (*train.samples, *test.samples)]
    white = image_files.white_level(paths)

    def decode(file: str) -> NDArray[np.uint8]:
        return image_files.decode(file, size, white)

    def split(dataset: datasets.ImageFolder) -> RawSplit:
        def read(indices: NDArray[np.int64]) -> NDArray[np.uint8]:
            try:
                with ThreadPoolExecutor(torch.get_num_threads()) as pool:
                    return np.stack(list(pool.map(decode, [dataset.samples[index][0] for index in indices])))
            except Exception:
                image_files.check(paths, decode)  # names every bad image, not only this one
                raise

        return RawSplit(np.array(dataset.targets, dtype=np.int64), read)

    return raw_dataset(train.classes, split(train), split(test), validation, train_samples, test_samples)


def describe(folder: Path, *, path: str, size: int, **amounts: Any) -> Facts:
    """Shape, classes and sizes for the same parameters: the images are counted, not opened."""
    train, test = _image_folders(folder / path, size)
    return official_facts((3, size, size), train.classes, len(train), len(test), **amounts)


def source(folder: Path, *, path: str, **parameters: Any) -> str | None:
    """A hash of the name, size and time of last change of every image; None where the images are gone."""
    root = folder / path
    if not root.is_dir():
        return None
    digest = hashlib.sha256()
    for file in sorted(file for file in root.rglob("*") if _is_visible_image(str(file))):
        status = file.stat()
        digest.update(f"{file.relative_to(root)}\0{status.st_size}\0{status.st_mtime_ns}\0".encode(errors="replace"))
    return digest.hexdigest()


def _image_folders(root: Path, size: int) -> tuple[datasets.ImageFolder, datasets.ImageFolder]:
    """The folders of training and test images, which hold the same classes."""
    if size < 2:
        raise UserError(f"image_folder: size: {size} pixels are no image; give at least 2")
    test_folder = root / "test" if (root / "test").is_dir() else root / "val"
    train, test = _image_folder(root / "train"), _image_folder(test_folder)
    if train.classes != test.classes:
        differing = ", ".join(sorted(set(train.classes) ^ set(test.classes)))
        raise UserError(f"{train.root} and {test.root} hold different classes; in only one of them: {differing}")
    if len(train.classes) < 2:
        raise UserError(
            f"image_folder: path: {train.root} holds only the class {train.classes[0]!r}; there must be at least 2"
        )
    return train, test


class _VisibleFolders(datasets.ImageFolder):
    """torchvision's, without hidden files and folders such as `.ipynb_checkpoints` and macOS's `._1.jpg`."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, is_valid_file=_is_visible_image)

    def find_classes(self, directory: str) -> tuple[list[str], dict[str, int]]:
        names = sorted(entry.name for entry in os.scandir(directory) if entry.is_dir() and entry.name[0] != ".")
        for name in names:
            if name != name.encode(errors="replace").decode():
                raise UserError(
                    f"image_folder: the name of the class folder {os.fsencode(name)!r} in {directory} is not UTF-8; "
                    "rename it"
                )
        if not names:
            raise FileNotFoundError("it has no folders")
        return names, {name: index for index, name in enumerate(names)}


def _is_visible_image(path: str) -> bool:
    return path.lower().endswith(IMG_EXTENSIONS) and not os.path.basename(path).startswith(".")  # noqa: PTH119


def _image_folder(root: Path) -> datasets.ImageFolder:
    try:
        return _VisibleFolders(root)
    except FileNotFoundError as error:
        raise UserError(
            f"image_folder: {root} does not hold images in one folder per class ({error}); "
            "place them in train/<class>/ and test/<class>/ under the configured `path`"
        ) from error
