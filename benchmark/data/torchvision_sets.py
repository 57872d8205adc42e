"""What torchvision's datasets have in common: raw files, found or downloaded, checked and read.

Files under the data folder in torchvision's own layout are used as they are, without looking for a network. Otherwise
torchvision downloads them (or unpacks archives that were placed there) into a folder beside. Only complete files are
moved to their final place, so a process may be killed at any time.
"""

import queue
import shutil
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from torchvision import datasets
from torchvision.datasets.mnist import read_sn3_pascalvincent_tensor
from torchvision.datasets.utils import check_integrity

from benchmark.data.raw import Facts, RawDataset, RawSplit
from benchmark.data.splits import cap, capped, held_out, hold_out
from benchmark.errors import UserError
from benchmark.files import locked

ANSWER_SECONDS = 15.0  # how long a server may take to answer, at first and when it stalls


@dataclass(frozen=True)
class RawFiles:
    """The raw files of a dataset.

    Attributes:
        name: the dataset's name, for messages.
        files: MD5 by path under the data folder; None where torchvision has none.
        archives: the same of the archives from which torchvision unpacks the files.
        urls: where they can be downloaded; one that answers is enough.
        fetch: downloads and unpacks everything under the folder it is given.
        advice: another way to get the files, for messages.
    """

    name: str
    files: Mapping[str, str | None]
    archives: Mapping[str, str]
    urls: Sequence[str]
    fetch: Callable[[Path], object]
    advice: str = ""

    def provide(self, folder: Path) -> None:
        """Make sure that the files are under `folder`, undamaged.

        Raises:
            UserError: they are missing and cannot be downloaded, or one of them is damaged.
        """
        if self._missing(folder):
            with locked(folder / f".{self.name}.lock"):
                if self._missing(folder):  # still, after waiting for the lock
                    self._fetch(folder)
        for file, md5 in self.files.items():
            if not check_integrity(folder / file, md5):
                raise damaged(folder / file)

    def _missing(self, folder: Path) -> list[str]:
        return [file for file in self.files if not (folder / file).is_file()]

    def _fetch(self, folder: Path) -> None:
        beside = folder / f".{self.name}-download"  # kept after a failure: complete archives are not downloaded again
        placed = {archive: md5 for archive, md5 in self.archives.items() if (folder / archive).is_file()}
        for archive, md5 in placed.items():
            if not check_integrity(folder / archive, md5):
                raise damaged(folder / archive)
            (beside / archive).parent.mkdir(parents=True, exist_ok=True)
            (beside / archive).unlink(missing_ok=True)
            (beside / archive).symlink_to((folder / archive).resolve())
        if (len(placed) < len(self.archives) or not self.archives) and not _any_answers(self.urls, ANSWER_SECONDS):
            raise self._unavailable(folder, f"no answer from {' or '.join(self.urls)}")
        try:
            with _socket_timeout(ANSWER_SECONDS):
                self.fetch(beside)
        except (
            OSError,
            RuntimeError,
            EOFError,
        ) as error:  # torchvision's own are RuntimeErrors
            raise self._unavailable(folder, f"the download failed: {error}") from error
        for file in self.files:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (beside / file).replace(folder / file)
        shutil.rmtree(beside)

    def _unavailable(self, folder: Path, reason: str) -> UserError:
        unpacked = f" (or {', '.join(self.archives)}, which will be unpacked)" if self.archives else ""
        return UserError(
            f"dataset {self.name!r}: files are missing in {folder.resolve()} and cannot be downloaded "
            f"({' '.join(reason.split())}).\n"
            f"Missing: {', '.join(self._missing(folder))}.\n"
            f"Place them there{unpacked}; for instance, run `python -m benchmark data` on a machine with a network and "
            f"copy its data folder.{self.advice}"
        )


def damaged(path: Path) -> UserError:
    """The error for a raw file whose contents are wrong."""
    return UserError(f"{path} is damaged or incomplete; delete it and run the command again, or replace it")


def raw_dataset(
    classes: Sequence[str],
    train: RawSplit,
    test: RawSplit,
    validation: float,
    train_samples: int | None,
    test_samples: int | None,
) -> RawDataset:
    """A dataset with a validation split held out of `train`, reduced to the requested numbers of samples."""
    rest, held = hold_out(train, validation, "validation")
    return RawDataset(
        classes=tuple(classes),
        train=cap(rest, train_samples, "train_samples"),
        validation=held,
        test=cap(test, test_samples, "test_samples"),
    )


def official_facts(
    image_shape: tuple[int, int, int],
    classes: Iterable[object],
    train: int,
    test: int,
    validation: float,
    train_samples: int | None,
    test_samples: int | None,
) -> Facts:
    """What is known of `raw_dataset` from the sizes of its official splits alone."""
    held = held_out(validation, train, "validation")
    return Facts(
        image_shape=image_shape,
        classes=tuple(map(str, classes)),
        train=capped(train_samples, train - held, "train_samples"),
        validation=held,
        test=capped(test_samples, test, "test_samples"),
    )


def mnist_family(source: type[datasets.MNIST], name: str, folder: Path, advice: str = "") -> tuple[RawSplit, RawSplit]:
    """Train and test of a dataset in MNIST's file format: 28x28 pixels, one channel."""
    raw = PurePosixPath(source.__name__, "raw")
    archives = {str(raw / archive): md5 for archive, md5 in source.resources}
    files = {archive.removesuffix(".gz"): None for archive in archives}
    urls = [mirror + source.resources[0][0] for mirror in source.mirrors]
    RawFiles(name, files, archives, urls, lambda root: source(root, download=True), advice).provide(folder)
    for file in files:
        try:
            read_sn3_pascalvincent_tensor(str(folder / file))
        except PermissionError:  # the file may be fine
            raise
        except Exception as error:  # torchvision's parser fails in many ways on a damaged file
            raise damaged(folder / file) from error

    def split(train: bool) -> RawSplit:
        dataset = source(folder, train=train)
        images, labels = dataset.data[:, None].numpy(), dataset.targets.numpy()
        if len(images) != len(labels):
            raise UserError(f"the images and labels in {folder / raw} do not belong together; replace all of its files")
        return RawSplit(labels, images.__getitem__)

    return split(True), split(False)


def cifar_family(source: type[datasets.CIFAR10], name: str, folder: Path) -> tuple[Sequence[str], RawSplit, RawSplit]:
    """Class names, train and test of a dataset in CIFAR's file format: 32x32 pixels, three channels."""
    listed = [*source.train_list, *source.test_list, [source.meta["filename"], source.meta["md5"]]]
    files = {f"{source.base_folder}/{file}": md5 for file, md5 in listed}
    archives = {source.filename: source.tgz_md5}
    RawFiles(name, files, archives, [source.url], lambda root: source(root, download=True)).provide(folder)
    train, test = source(folder, train=True), source(folder, train=False)

    def split(dataset: datasets.CIFAR10) -> RawSplit:
        images: NDArray[np.uint8] = dataset.data.transpose(0, 3, 1, 2)
        return RawSplit(np.array(dataset.targets, dtype=np.int64), images.__getitem__)

    return train.classes, split(train), split(test)


def _any_answers(urls: Sequence[str], seconds: float) -> bool:
    """Whether a server answers at all within `seconds`.

    Asked in threads, since name resolution has no timeout; they are daemons, so that nothing waits for them.
    """
    answers: queue.Queue[bool] = queue.Queue()

    def ask(url: str) -> None:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=seconds):
                answers.put(True)
        except urllib.error.HTTPError:  # the server is there; the download will report the problem
            answers.put(True)
        except OSError:
            answers.put(False)

    for url in urls:
        threading.Thread(target=ask, args=(url,), daemon=True).start()
    deadline = time.monotonic() + seconds
    for _ in urls:
        try:
            if answers.get(timeout=max(0.0, deadline - time.monotonic())):
                return True
        except queue.Empty:
            return False
    return False


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """Limit how long a connection may stall; torchvision sets no limit itself."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
