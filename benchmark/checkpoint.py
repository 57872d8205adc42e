"""Checkpoints: written atomically, read without executing code, refused where they belong to another run."""

from pathlib import Path
from typing import Any

import torch

from benchmark.configuration import Run
from benchmark.errors import UserError
from benchmark.files import atomic_write

#: Raised whenever what a checkpoint holds, or what it means, changes.
FORMAT = 1


def save(path: Path, run: Run, state: dict[str, Any]) -> None:
    """Write `state` (tensors and plain values) as the checkpoint of `run`."""
    with atomic_write(path) as temporary:
        torch.save({"format": FORMAT, "run": run.resolved(), "state": state}, temporary)


def load(path: Path, run: Run, device: torch.device) -> dict[str, Any] | None:
    """The state saved for `run`, or None where there is no checkpoint.

    Raises:
        UserError: the file is damaged, or is of another format or configuration; the difference is named.
    """
    remedy = f"Delete {path} (or pass --restart) to train from the beginning."
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        found, saved, state = content["format"], content["run"], content["state"]
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"Cannot read the checkpoint {path}: {error.strerror}.") from None
    except Exception as error:  # torch.load answers damage with whatever its unpickler stumbled over
        raise UserError(
            f"The checkpoint {path} is damaged or no checkpoint ({type(error).__name__}). {remedy}"
        ) from None
    if found != FORMAT:
        raise UserError(f"The checkpoint {path} has format {found}; this version reads format {FORMAT}. {remedy}")
    differences = list(_differences(saved, run.resolved()))
    if differences:
        raise UserError(
            f"The checkpoint {path} belongs to another configuration:\n"
            + "\n".join(f"  {line}" for line in differences)
            + f"\n{remedy}"
        )
    return state


def _differences(saved: Any, wanted: Any, key: str = "") -> Any:
    """'key: X in the checkpoint, Y in the configuration', for every value that differs."""
    if isinstance(saved, dict) and isinstance(wanted, dict):
        for name in sorted(saved.keys() | wanted.keys()):
            yield from _differences(saved.get(name), wanted.get(name), f"{key}.{name}".lstrip("."))
    elif saved != wanted:
        yield f"{key}: {saved!r} in the checkpoint, {wanted!r} in the configuration"
