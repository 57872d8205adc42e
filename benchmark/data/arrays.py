"""Writing a dataset's arrays: streamed, checked, and on disk space that is reserved first."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.data.raw import RawDataset, RawSplit
from benchmark.errors import UserError
from benchmark.files import atomic_write

SPLITS = ("train", "validation", "test")
_CHUNK = 512  # samples read at a time, so that a dataset may be larger than memory


def write_arrays(raw: RawDataset, folder: Path) -> dict[str, Any]:
    """Write `<split>.<column>.npy` for every split into `folder`; return what is known of them, as plain JSON values.

    Raises:
        UserError: the images are not uint8 [samples, channels, height, width], or differ in shape.
        OSError: the disk is full, or refuses for another reason.
    """
    shape = raw.train.read(np.arange(1)).shape[1:]
    arrays: dict[str, dict[str, Any]] = {}
    for split in SPLITS:
        source: RawSplit = getattr(raw, split)
        columns = _columns(source)
        for column, values in columns.items():
            _write(folder / f"{split}.{column}.npy", values.dtype, values.shape, [values])
        histogram = np.zeros((shape[0] if shape else 0, 256), dtype=np.int64)  # how often each value occurs
        chunks = _images(source, shape, split, histogram)
        _write(folder / f"{split}.images.npy", np.dtype(np.uint8), (len(source.labels), *shape), chunks)
        if split == "train":
            mean, std = _moments(histogram)
        for column in ("images", *columns):
            path = folder / f"{split}.{column}.npy"
            digest = checksum(np.load(path, mmap_mode="r"))
            arrays[path.name] = {"bytes": path.stat().st_size, "sha256": digest}
    return {
        "classes": raw.classes,
        "difficulty_name": raw.difficulty_name,
        **({"groups": raw.groups} if raw.groups else {}),
        "mean": mean,
        "std": std,
        "fingerprint": hashlib.sha256("".join(array["sha256"] for array in arrays.values()).encode()).hexdigest(),
        "arrays": arrays,
    }


def checksum(array: NDArray[Any]) -> str:
    """SHA-256 of an array's type, shape and values."""
    digest = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    for start in range(0, len(array), _CHUNK):
        digest.update(array[start : start + _CHUNK].tobytes())
    return digest.hexdigest()


def _columns(source: RawSplit) -> dict[str, NDArray[Any]]:
    """All arrays of a split but its images."""
    difficulty = np.full(len(source.labels), np.nan) if source.difficulty is None else source.difficulty
    columns: dict[str, NDArray[Any]] = {
        "labels": source.labels.astype(np.int64),
        "difficulty": difficulty.astype(np.float32),
    }
    return columns if source.group is None else {**columns, "group": source.group.astype(np.int8)}


def _images(
    source: RawSplit, shape: tuple[int, ...], split: str, histogram: NDArray[np.int64]
) -> Iterable[NDArray[np.uint8]]:
    """The images of a split, a few hundred at a time, each of them counted in `histogram` [channels, 256]."""
    for start in range(0, len(source.labels), _CHUNK):
        indices = np.arange(start, min(start + _CHUNK, len(source.labels)))
        chunk = source.read(indices)
        if chunk.dtype != np.uint8 or len(shape) != 3 or 0 in shape or chunk.shape != (len(indices), *shape):
            raise UserError(
                f"{split} images must all be uint8 arrays [channels, height, width] of one shape; samples {start} to "
                f"{indices[-1]} are {chunk.dtype} {chunk.shape[1:]}, and the first training image is {shape}"
            )
        for channel in range(shape[0]):
            histogram[channel] += np.bincount(chunk[:, channel].ravel(), minlength=256)
        yield chunk


def _write(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...], chunks: Iterable[NDArray[Any]]) -> None:
    """Write an array file chunk by chunk, after its space on the disk has been reserved.

    On a full disk a memory map would end in a bus error, and a plain write only after hours of decoding.
    """
    size = int(np.prod(shape)) * dtype.itemsize
    try:
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            file.flush()
            if hasattr(os, "posix_fallocate"):  # not on macOS
                os.posix_fallocate(file.fileno(), file.tell(), max(size, 1))
            for chunk in chunks:
                file.write(np.ascontiguousarray(chunk).data)
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, f"{error.strerror}: {path.name} needs {size / 1e6:,.1f} MB", path.parent) from error


def _moments(histogram: NDArray[np.int64]) -> tuple[list[float], list[float]]:
    """Mean and standard deviation per channel of value/255, from counts, so the size of a chunk does not matter."""
    values = np.arange(256) / 255
    share = histogram / histogram.sum(axis=1, keepdims=True)
    mean = share @ values
    std = np.sqrt((share * (values - mean[:, None]) ** 2).sum(axis=1))
    return mean.tolist(), np.where(std > 0, std, 1.0).tolist()  # a constant channel is only shifted
