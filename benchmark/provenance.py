"""What a result was made from, by what, on what: the content of run.json."""

import importlib.metadata
import json
import os
import platform
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import torch

from benchmark.configuration import Run
from benchmark.files import write_json

_PACKAGES = ("torch", "torchvision", "timm", "fvcore", "numpy", "pandas", "pyarrow", "scikit-learn")


def environment(device: torch.device) -> dict[str, Any]:
    """Code, versions and hardware of this process."""
    return {"code": code(), "versions": versions(), "hardware": hardware(device)}


@cache
def code() -> dict[str, Any]:
    """The commit that the code is at, and whether the working tree differs from it; nulls outside a git checkout."""
    folder = Path(__file__).parent
    commit = _git(folder, "rev-parse", "HEAD")
    status = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "dirty": None if status is None else bool(status)}


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        finished = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return finished.stdout.strip()


def versions() -> dict[str, str | None]:
    """Python's version and those of the packages that a number may depend on."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found


def hardware(device: torch.device) -> dict[str, Any]:
    """Processor, cores, threads in use, and the GPU where one is used."""
    cuda = device.type == "cuda"
    return {
        "device": device.type,
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
        return json.loads((folder / "run.json").read_text())
    except (OSError, ValueError):
        return {}


def update(folder: Path, run: Run, **entries: Any) -> None:
    """Set `entries` in run.json; entries of another configuration's run are dropped."""
    old = read(folder)
    kept = old if old.get("digest") == run.digest else {}
    write_json(folder / "run.json", kept | {"run": str(run), "digest": run.digest, **run.resolved(), **entries})
