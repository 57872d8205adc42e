"""Datasets on disk: prepared once into memory-mapped uint8 arrays that all runs share.

``<folder>/prepared/<kind>-<hash of parameters and version>/`` holds ``<split>.<array>.npy`` and, written last,
``meta.json``: where that stands, the dataset is whole.
"""

import hashlib
import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark.data.kinds import find_description, find_kind
from benchmark.data.raw import Facts, RawDataset, RawSplit
from benchmark.errors import UserError
from benchmark.files import atomic_write, locked, write_json

#: To be raised when a kind comes to give other arrays for the same parameters: old prepared files are then left alone.
VERSION = 2
SPLITS = ("train", "validation", "test")
_CHUNK = 512  # samples read at a time, so that a dataset larger than memory passes through


@dataclass(frozen=True)
class Split:
    """One split, memory-mapped copy-on-write: nothing written to these tensors ever reaches the disk.

    Attributes:
        images: uint8 [samples, channels, height, width].
        labels: int64 [samples].
        difficulty: float32 [samples], NaN where unknown.
    """

    images: Tensor
    labels: Tensor
    difficulty: Tensor


@dataclass(frozen=True)
class Dataset:
    """A prepared dataset.

    Attributes:
        name: the kind's name.
        classes: the classes' names; labels are indices into it.
        mean, std: per channel, of the training images divided by 255.
        difficulty_name: what the difficulty measures, as an axis label; None where there is none.
        fingerprint: SHA-256 of all arrays.
    """

    name: str
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    train: Split
    validation: Split
    test: Split
    difficulty_name: str | None
    fingerprint: str

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width


def prepare(kind: str, parameters: Mapping[str, Any], folder: Path) -> Path:
    """Lay the dataset on disk, unless it is there; return the folder in which it lies.

    May be killed at any time and called by several processes at once: one of them works, the others wait for it.

    Args:
        kind: a kind's name, as `find_kind` knows it.
        parameters: the kind's parameters; those left out take their defaults.
        folder: the data folder: raw files are looked for and downloaded there.

    Raises:
        UserError: raw files are missing or damaged, or a parameter makes no sense.
    """
    identity = _identity(kind, parameters)
    prepared = _prepared_folder(identity, folder)
    if _damage(prepared) is None:  # needs no lock, hence no right to write
        return prepared
    with locked(prepared.with_name(f".{prepared.name}.lock")):
        if _damage(prepared) is None:
            return prepared
        for leftover in prepared.glob(".*.npy"):  # of a process that was killed: we hold the lock, nobody writes them
            leftover.unlink()
        _write(find_kind(kind)(Path(folder), **parameters), identity, prepared)
    return prepared


def load(kind: str, parameters: Mapping[str, Any], folder: Path, verify: bool = False) -> Dataset:
    """The dataset that `prepare` laid with the same arguments.

    Args:
        kind: a kind's name.
        parameters: the kind's parameters.
        folder: the data folder.
        verify: read all arrays and compare their checksums; otherwise only their sizes are looked at.

    Raises:
        UserError: the dataset is not prepared, or damaged.
    """
    prepared = _prepared_folder(_identity(kind, parameters), folder)
    damage = _damage(prepared, verify)
    if damage is not None:
        remedy = "delete that folder and prepare it again" if prepared.exists() else "prepare it"
        raise UserError(f"dataset {kind!r} cannot be loaded: {damage}; {remedy} with `python -m benchmark data`")
    meta = json.loads((prepared / "meta.json").read_text(encoding="utf-8"))
    train, validation, test = (
        Split(*(_map(prepared / f"{split}.{array}.npy") for array in ("images", "labels", "difficulty")))
        for split in SPLITS
    )
    return Dataset(
        name=kind,
        classes=tuple(meta["classes"]),
        mean=tuple(meta["mean"]),
        std=tuple(meta["std"]),
        train=train,
        validation=validation,
        test=test,
        difficulty_name=meta["difficulty_name"],
        fingerprint=meta["fingerprint"],
    )


def facts(kind: str, parameters: Mapping[str, Any], folder: Path) -> Facts:
    """Shape, classes and sizes of a dataset: of the prepared one, or else as its kind describes it.

    A kind that describes nothing in advance is prepared.

    Raises:
        UserError: a parameter makes no sense, or images or raw files are missing of a kind that must look at them.
    """
    describe = find_description(kind)
    try:
        dataset = load(kind, parameters, folder)
    except UserError:
        if describe is not None:
            return describe(Path(folder), **_complete(kind, parameters))
        prepare(kind, parameters, folder)
        dataset = load(kind, parameters, folder)
    sizes = {split: len(getattr(dataset, split).labels) for split in SPLITS}
    return Facts(dataset.image_shape, dataset.classes, **sizes)


def _identity(kind: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """What a prepared folder is named by: all that its arrays depend on."""
    return {"kind": kind, "version": VERSION, "parameters": _complete(kind, parameters)}


def _complete(kind: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters with the kind's defaults for those left out."""
    accepted = inspect.signature(find_kind(kind)).parameters.values()
    defaults = {parameter.name: parameter.default for parameter in accepted if parameter.kind is parameter.KEYWORD_ONLY}
    return defaults | dict(parameters)


def _prepared_folder(identity: Mapping[str, Any], folder: Path) -> Path:
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()
    return Path(folder) / "prepared" / f"{identity['kind']}-{digest[:12]}"


def _damage(prepared: Path, verify: bool = False) -> str | None:
    """What is wrong with a prepared folder, or None."""
    try:
        meta = json.loads((prepared / "meta.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return f"{prepared} is not prepared"
    except ValueError:
        return f"{prepared / 'meta.json'} is not readable"
    for name, array in meta["arrays"].items():
        path = prepared / name
        if not path.exists():
            return f"{path} is missing"
        if path.stat().st_size != array["bytes"]:
            return f"{path} has {path.stat().st_size} bytes where {array['bytes']} were written"
        if verify and _checksum(np.load(path, mmap_mode="r")) != array["sha256"]:
            return f"{path} does not match its checksum"
    return None


def _write(raw: RawDataset, identity: Mapping[str, Any], prepared: Path) -> None:
    arrays: dict[str, dict[str, Any]] = {}
    for split in SPLITS:
        source: RawSplit = getattr(raw, split)
        difficulty = np.full(len(source.labels), np.nan) if source.difficulty is None else source.difficulty
        for name, values in (("labels", source.labels.astype(np.int64)), ("difficulty", difficulty.astype(np.float32))):
            with atomic_write(prepared / f"{split}.{name}.npy") as temporary:
                np.save(temporary, values)
        with atomic_write(prepared / f"{split}.images.npy") as temporary:
            histogram = _write_images(source, temporary)
        if split == "train":
            mean, std = _moments(histogram)
        for name in ("images", "labels", "difficulty"):
            path = prepared / f"{split}.{name}.npy"
            checksum = _checksum(np.load(path, mmap_mode="r"))
            arrays[path.name] = {"bytes": path.stat().st_size, "sha256": checksum}
    fingerprint = hashlib.sha256("".join(array["sha256"] for array in arrays.values()).encode()).hexdigest()
    meta = {
        **identity,
        "classes": raw.classes,
        "difficulty_name": raw.difficulty_name,
        "mean": mean,
        "std": std,
        "fingerprint": fingerprint,
        "arrays": arrays,
    }
    write_json(prepared / "meta.json", meta)


def _write_images(source: RawSplit, path: Path) -> NDArray[np.int64]:
    """Stream the images into an array file at `path`; return how often each value occurs: [channels, 256]."""
    samples = len(source.labels)
    shape = source.read(np.arange(1)).shape[1:]
    images = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(samples, *shape))
    histogram = np.zeros((shape[0], 256), dtype=np.int64)
    for start in range(0, samples, _CHUNK):
        chunk = source.read(np.arange(start, min(start + _CHUNK, samples)))
        images[start : start + len(chunk)] = chunk
        for channel in range(shape[0]):
            histogram[channel] += np.bincount(chunk[:, channel].ravel(), minlength=256)
    images.flush()
    return histogram


def _moments(histogram: NDArray[np.int64]) -> tuple[list[float], list[float]]:
    """Mean and standard deviation per channel of value/255; from counts, so they do not depend on how chunks fell."""
    values = np.arange(256) / 255
    share = histogram / histogram.sum(axis=1, keepdims=True)
    mean = share @ values
    std = np.sqrt((share * (values - mean[:, None]) ** 2).sum(axis=1))
    return mean.tolist(), np.where(std > 0, std, 1.0).tolist()  # a constant channel is only shifted


def _checksum(array: NDArray[Any]) -> str:
    digest = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    for start in range(0, len(array), _CHUNK):
        digest.update(array[start : start + _CHUNK].tobytes())
    return digest.hexdigest()


def _map(path: Path) -> Tensor:
    # "c", copy-on-write: PyTorch knows no read-only tensors and warns of read-only arrays.
    return torch.from_numpy(np.load(path, mmap_mode="c"))
