"""What a result was made from, by what, on what: the content of run.json."""

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.errors import UserError
from benchmark.experiment.runs import Run
from benchmark.files import write_json

if TYPE_CHECKING:
    import torch

#: What results depend on; a new file, such as a method not yet added to git, makes the tree dirty too.
_CODE = ("dynalay", "baselines", "benchmark")
_PACKAGES = ("torch", "torchvision", "timm", "fvcore", "numpy", "pandas", "pyarrow", "scikit-learn")


def environment(device: "torch.device") -> dict[str, Any]:
    """Code, versions and hardware of this process."""
    return {"code": code(), "versions": versions(), "hardware": hardware(device)}


@cache
def code() -> dict[str, Any]:
    """The commit that the code is at, and whether the packages differ from it; where none is known, the reason."""
    root = Path(__file__).parents[2]
    try:
        # An installed copy may lie inside some other project's checkout, whose commit says nothing of it.
        if not _git(root, "ls-files", str(Path(__file__).relative_to(root))):
            raise _UnknownError("the code that runs is in no git checkout of its own")
        return {
            "commit": _git(root, "rev-parse", "HEAD"),
            "dirty": bool(_git(root, "status", "--porcelain", "--", *_CODE)),
        }
    except _UnknownError as unknown:
        return {"commit": None, "dirty": None, "reason": str(unknown)}


class _UnknownError(Exception):
    """Why git does not say which commit this is."""


def warn_of_changes() -> None:
    """Say so when the code is not that of its commit, or no commit is known; run.json says it for good."""
    found = code()
    if found["commit"] is None:
        print(f"warning: run.json will name no commit: {found['reason']}", file=sys.stderr)
    elif found["dirty"]:
        print(
            f"warning: the code differs from its commit {found['commit'][:10]}, which alone will not reproduce the "
            "results; run.json says so",
            file=sys.stderr,
        )


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    try:
        finished = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except FileNotFoundError:
        raise _UnknownError("git is not installed") from None
    except (OSError, subprocess.SubprocessError) as error:
        raise _UnknownError(f"git does not answer ({type(error).__name__})") from None
    if finished.returncode == 0:
        return finished.stdout.strip()
    if "dubious ownership" in finished.stderr:
        raise _UnknownError(
            "the checkout belongs to another user, and git does not trust it until "
            "`git config --global --add safe.directory <checkout>`"
        )
    if "not a git repository" in finished.stderr:
        raise _UnknownError("the code that runs is in no git checkout")
    raise _UnknownError(f"git {arguments[0]} failed: {finished.stderr.strip().splitlines()[:1]}")


def versions() -> dict[str, str | None]:
    """Python's version and those of the packages that a number may depend on."""
    import torch  # takes seconds, which those who only read run.json need not spend

    found: dict[str, str | None] = {"python": platform.python_version(), "cuda": torch.version.cuda}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found


def hardware(device: "torch.device") -> dict[str, Any]:
    """Processor, cores, threads in use, and the GPU where one is used."""
    import torch

    cuda = device.type == "cuda"
    return {
        "device": device.type,
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name(device) if cuda else None,
        "gpu_memory_bytes": torch.cuda.get_device_properties(device).total_memory if cuda else None,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def read(folder: Path) -> dict[str, Any]:
    """The run.json of a run's folder; empty where there is none yet or it is damaged."""
    try:
        return _whole(folder / "run.json")
    except UserError:
        return {}


def update(folder: Path, run: Run, **entries: Any) -> None:
    """Set `entries` in run.json; entries of another configuration's run are dropped.

    The digest stays as it is until a training sets it, since the weights beside run.json are signed with it.

    Raises:
        UserError: the run.json that is there is damaged.
    """
    old = _whole(folder / "run.json")
    kept = old if run.is_described_by(old) else {}
    digest = kept.get("digest", run.digest)
    described = {"run": str(run), "digest": digest, **run.resolved(), "ground": run.ground.described()}
    write_json(folder / "run.json", kept | described | entries)


def owns(run: Run, description: Mapping[str, Any], digest: str | None) -> bool:
    """Whether weights signed with `digest`, beside a run.json with `description`, are the run's.

    The digest need not be today's: run.json and weights that older code signed alike belong together, and what run.json
    says decides whether they are the run's.
    """
    return run.is_described_by(description) and digest in (run.digest, description.get("digest"))


def _whole(path: Path) -> dict[str, Any]:
    """The content of a run.json; empty where there is none."""
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise UserError(f"{path} is damaged. Delete it and run the same command again.")
    return content
