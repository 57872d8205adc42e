"""A run's state on disk: the checkpoint from which training resumes, and the weights that remain of it.

Both are written atomically, read without executing code, checked for damage, and know which run they belong to.
"""

import hashlib
import json
import sys
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from benchmark.errors import UserError, is_out_of_memory
from benchmark.experiment.configuration import Run
from benchmark.files import atomic_write

#: Increased whenever what a checkpoint holds, or what it means, changes.
FORMAT = 3

_SIGNATURE = "run and checksum"


@dataclass(frozen=True)
class Identity:
    """What a checkpoint belongs to; all plain values.

    Attributes:
        configuration: the run's. A checkpoint of another one is of no use to this run.
        circumstances: the data, software and kind of device, without which the same run ends with other results.
    """

    configuration: Mapping[str, Any]
    circumstances: Mapping[str, Any]


def save(path: Path, identity: Identity, state: dict[str, Any]) -> None:
    """Write `state` (tensors and plain values) as the checkpoint of what `identity` describes."""
    content = {
        "format": FORMAT,
        "configuration": dict(identity.configuration),
        "circumstances": dict(identity.circumstances),
        "state": state,
    }
    # Through a file object, whose errors are Python's own: a full disk is then reported as one.
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        torch.save(content, file)


def load(path: Path, identity: Identity) -> dict[str, Any] | None:
    """The state saved for `identity`, with tensors on the CPU, or None if there is no checkpoint.

    A checkpoint of another configuration is renamed, with a warning, and counts as none.

    Raises:
        UserError: the file is corrupt, or of another format, data, software or device; the message says which.
    """
    remedy = f"Delete {path} (or pass --restart) to train from the beginning."
    if not path.exists():
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            if (damaged := archive.testzip()) is not None:  # torch does not look at the checksums
                raise zipfile.BadZipFile(damaged)
        content = torch.load(path, map_location="cpu", weights_only=True)
        found, state = content["format"], content["state"]
    except Exception as error:  # torch.load answers damage with whatever its unpickler stumbled over
        if isinstance(error, OSError) or is_out_of_memory(error):
            raise
        raise UserError(
            f"The checkpoint {path} is corrupt or not a checkpoint ({type(error).__name__}). {remedy}"
        ) from None
    if found != FORMAT:
        raise UserError(f"The checkpoint {path} has format {found}; this version reads format {FORMAT}. {remedy}")
    if differences := list(_differences(content["configuration"], identity.configuration)):
        _set_aside(path, content["configuration"], differences)
        return None
    if differences := list(_differences(content["circumstances"], identity.circumstances)):
        raise UserError(
            f"The checkpoint {path} was made under other circumstances, so resuming would mix results:\n"
            + "\n".join(f"  {line}" for line in differences)
            + f"\nResume where it was made. {remedy}"
        )
    return state


def _set_aside(path: Path, configuration: Mapping[str, Any], differences: list[str]) -> None:
    """Rename a checkpoint of another configuration, so that it is neither used nor lost."""
    digest = hashlib.sha256(json.dumps(configuration, sort_keys=True).encode()).hexdigest()[:8]
    kept = path.with_name(f"{path.stem}-{digest}{path.suffix}")
    path.replace(kept)
    print(
        f"warning: {path} belongs to another configuration; it is kept as {kept.name}, and training starts from the "
        "beginning:\n" + "\n".join(f"  {line}" for line in differences),
        file=sys.stderr,
    )


def _differences(saved: Any, wanted: Any, key: str = "") -> Iterator[str]:
    """'key: X in the checkpoint, Y now', for every value that differs."""
    if isinstance(saved, Mapping) and isinstance(wanted, Mapping):
        for name in sorted(saved.keys() | wanted.keys()):
            yield from _differences(saved.get(name), wanted.get(name), f"{key}.{name}".lstrip("."))
    elif saved != wanted:
        yield f"{key}: {saved!r} in the checkpoint, {wanted!r} now"


def save_weights(path: Path, run: Run, weights: Mapping[str, Tensor]) -> None:
    """Write the trained weights with the run's digest and a checksum; the same weights give the same bytes."""
    _write_weights(path, run.digest, {name: value.cpu().contiguous() for name, value in weights.items()})


def save_half(path: Path, copy: Path) -> None:
    """Write a copy of the weights at `path` in half precision, with the same digest.

    A tensor with a value that half precision cannot hold stays as it is.

    Raises:
        UserError: the file is damaged.
    """
    weights = load_weights(path, torch.device("cpu"))
    halves = {name: value.half() if value.is_floating_point() else value for name, value in weights.items()}
    halves = {name: value if value.isfinite().all() else weights[name] for name, value in halves.items()}
    _write_weights(copy, weights_digest(path), halves)


def _write_weights(path: Path, digest: str | None, weights: Mapping[str, Tensor]) -> None:
    # One entry, since safetensors writes several in any order.
    content = safetensors.torch.save(dict(weights), {_SIGNATURE: f"{digest} {_checksum(weights)}"})
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


def weights_digest(path: Path) -> str | None:
    """The digest of the run whose weights lie at `path`; None where there are none.

    Raises:
        UserError: the file is damaged.
    """
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            return _signature(file)[0]
    except SafetensorError as error:
        raise _damaged(path, error) from None


def load_weights(path: Path, device: torch.device) -> dict[str, Tensor]:
    """The weights at `path`.

    Raises:
        UserError: the file is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            checksum = _signature(file)[1]
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 -- it is no mapping
    except SafetensorError as error:
        raise _damaged(path, error) from None
    if _checksum(weights) != checksum:
        raise _damaged(path, "the weights do not match their checksum")
    return {name: value.to(device) for name, value in weights.items()}


def _signature(file: Any) -> tuple[str, str]:
    """The run's digest and the weights' checksum; empty where the file has none."""
    digest, _, checksum = (file.metadata() or {}).get(_SIGNATURE, "").partition(" ")
    return digest, checksum


def _damaged(path: Path, reason: object) -> UserError:
    return UserError(f"{path} is damaged ({reason}). Delete it and train again (train --restart).")


def _checksum(weights: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(weights.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
