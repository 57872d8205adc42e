"""A run's state on disk: the checkpoint from which training goes on, and the weights that remain of it.

Both are written atomically, read without executing code, checked for damage, and know which run they belong to.
"""

import hashlib
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from benchmark.errors import UserError, is_out_of_memory
from benchmark.experiment.configuration import Run
from benchmark.files import atomic_write

#: Raised whenever what a checkpoint holds, or what it means, changes.
FORMAT = 2

_SIGNATURE = "run and checksum"


def save(path: Path, identity: Mapping[str, Any], state: dict[str, Any]) -> None:
    """Write `state` (tensors and plain values) as the checkpoint of what `identity` describes (plain values)."""
    # Through a file object, whose errors are Python's own: a full disk is then called so.
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        torch.save({"format": FORMAT, "identity": dict(identity), "state": state}, file)


def load(path: Path, identity: Mapping[str, Any]) -> dict[str, Any] | None:
    """The state saved for `identity`, with tensors on the CPU, or None where there is no checkpoint.

    Raises:
        UserError: the file is damaged, or of another format, configuration, data or software; the difference is named.
    """
    remedy = f"Delete {path} (or pass --restart) to train from the beginning."
    if not path.exists():
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            if (damaged := archive.testzip()) is not None:  # torch does not look at the checksums
                raise zipfile.BadZipFile(damaged)
        content = torch.load(path, map_location="cpu", weights_only=True)
        found, saved, state = content["format"], content.get("identity", {}), content["state"]
    except Exception as error:  # torch.load answers damage with whatever its unpickler stumbled over
        if isinstance(error, OSError) or is_out_of_memory(error):
            raise
        raise UserError(
            f"The checkpoint {path} is damaged or no checkpoint ({type(error).__name__}). {remedy}"
        ) from None
    if found != FORMAT:
        raise UserError(f"The checkpoint {path} has format {found}; this version reads format {FORMAT}. {remedy}")
    differences = list(_differences(saved, identity))
    if differences:
        raise UserError(
            f"The checkpoint {path} belongs to another run:\n"
            + "\n".join(f"  {line}" for line in differences)
            + f"\n{remedy}"
        )
    return state


def _differences(saved: Any, wanted: Any, key: str = "") -> Iterator[str]:
    """'key: X in the checkpoint, Y now', for every value that differs."""
    if isinstance(saved, Mapping) and isinstance(wanted, Mapping):
        for name in sorted(saved.keys() | wanted.keys()):
            yield from _differences(saved.get(name), wanted.get(name), f"{key}.{name}".lstrip("."))
    elif saved != wanted:
        yield f"{key}: {saved!r} in the checkpoint, {wanted!r} now"


def save_weights(path: Path, run: Run, weights: Mapping[str, Tensor]) -> None:
    """Write the trained weights with the run's digest and a checksum; the same weights give the same bytes."""
    weights = {name: value.cpu().contiguous() for name, value in weights.items()}
    # One entry, since safetensors writes several in any order.
    content = safetensors.torch.save(weights, {_SIGNATURE: f"{run.digest} {_checksum(weights)}"})
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
