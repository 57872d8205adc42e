"""Datasets on disk: prepared once into memory-mapped uint8 arrays that all runs share.

``<folder>/prepared/<kind>-<hash of parameters and version>/`` holds ``<split>.<array>.npy`` and, written last,
``meta.json``: where that exists, the dataset is complete.
"""

import hashlib
import inspect
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmark.data.arrays import SPLITS, checksum, write_arrays
from benchmark.data.kinds import find_description, find_kind, revision, source_of
from benchmark.data.raw import Facts
from benchmark.errors import UserError
from benchmark.files import locked, write_json

#: Of the format on disk; prepared data of other versions is ignored.
VERSION = 2


@dataclass(frozen=True)
class Split:
    """One split, memory-mapped copy-on-write: nothing written to these tensors ever reaches the disk.

    Attributes:
        images: uint8 [samples, channels, height, width].
        labels: int64 [samples].
        difficulty: float32 [samples], NaN where unknown.
        group: int8 [samples], indices into the dataset's `groups`; None where the dataset has none.
    """

    images: Tensor
    labels: Tensor
    difficulty: Tensor
    group: Tensor | None = None


@dataclass(frozen=True)
class Dataset:
    """A prepared dataset.

    Attributes:
        name: the kind's name.
        classes: the classes' names; labels are indices into it.
        mean, std: per channel, of the training images divided by 255.
        difficulty_name: what the difficulty measures, as an axis label; None where there is none.
        fingerprint: SHA-256 of all arrays.
        groups: the names of the groups into which samples fall; empty where there are none.
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
    groups: tuple[str, ...] = ()

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    def without_test(self) -> "Dataset":
        """The same data with an empty test split, for those who must not see it."""
        seen = self.validation
        group = None if seen.group is None else seen.group[:0]
        return replace(self, test=Split(seen.images[:0], seen.labels[:0], seen.difficulty[:0], group))


def prepare(kind: str, parameters: Mapping[str, Any], folder: Path) -> Path:
    """Write the dataset to disk, unless it is there and its raw files have not changed since; return its folder.

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
    find_source = source_of(find_kind(kind))
    source = None if find_source is None else find_source(Path(folder), **_complete(kind, parameters))
    if _is_sound(prepared, source):  # needs no lock, hence no right to write
        return prepared
    with locked(prepared.with_name(f".{prepared.name}.lock")):
        if _is_sound(prepared, source):
            return prepared
        shutil.rmtree(prepared, ignore_errors=True)  # left by a process that was killed
        raw = find_kind(kind)(Path(folder), **parameters)
        raw.check(kind)
        try:
            write_json(prepared / "meta.json", {**identity, "source": source, **write_arrays(raw, prepared)})
        except BaseException:  # an incomplete set is of no use, and may fill a disk
            shutil.rmtree(prepared, ignore_errors=True)
            raise
    return prepared


def load(kind: str, parameters: Mapping[str, Any], folder: Path, verify: bool = False) -> Dataset:
    """The dataset that `prepare` wrote with the same arguments.

    Args:
        kind: a kind's name.
        parameters: the kind's parameters.
        folder: the data folder.
        verify: read all arrays and compare their checksums; otherwise only their sizes are compared.

    Raises:
        UserError: the dataset is not prepared, or damaged.
    """
    prepared = _prepared_folder(_identity(kind, parameters), folder)
    damage = _damage(prepared, verify)
    if damage is not None:
        remedy = "delete that folder and prepare it again" if prepared.exists() else "prepare it"
        raise UserError(f"dataset {kind!r} cannot be loaded: {damage}; {remedy} with `python -m benchmark data`")
    meta = json.loads((prepared / "meta.json").read_text(encoding="utf-8"))
    groups = tuple(meta.get("groups", ()))
    columns = ("images", "labels", "difficulty", *(("group",) if groups else ()))
    train, validation, test = (
        Split(*(_map(prepared / f"{split}.{column}.npy") for column in columns)) for split in SPLITS
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
        groups=groups,
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
    given = {"kind": kind, "version": VERSION, "parameters": _complete(kind, parameters)}
    return given | revision(find_kind(kind))


def _complete(kind: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters with the kind's defaults for those left out."""
    accepted = inspect.signature(find_kind(kind)).parameters.values()
    defaults = {parameter.name: parameter.default for parameter in accepted if parameter.kind is parameter.KEYWORD_ONLY}
    return defaults | dict(parameters)


def _prepared_folder(identity: Mapping[str, Any], folder: Path) -> Path:
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()
    return Path(folder) / "prepared" / f"{identity['kind'].replace(':', '.')}-{digest[:12]}"


def _is_sound(prepared: Path, source: str | None) -> bool:
    """Whether a prepared folder is complete and, as far as is known, made of these raw files."""
    if _damage(prepared) is not None:
        return False
    then = json.loads((prepared / "meta.json").read_text(encoding="utf-8")).get("source")
    return None in (then, source) or then == source


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
        if verify and checksum(np.load(path, mmap_mode="r")) != array["sha256"]:
            return f"{path} does not match its checksum"
    return None


def _map(path: Path) -> Tensor:
    # "c", copy-on-write: PyTorch has no read-only tensors and warns about read-only arrays.
    return torch.from_numpy(np.load(path, mmap_mode="c"))
