"""The GPUs that this process may use, named by UUID, found without CUDA: CUDA reads its choice of GPUs only once."""

import os
import sys
from functools import cache

import pynvml

VISIBLE = "CUDA_VISIBLE_DEVICES"


def visible_gpus() -> list[str]:
    """The GPUs that `CUDA_VISIBLE_DEVICES` names (Slurm's choice, or the user's), else all of the machine.

    Numbers, which count as in nvidia-smi, and shortened UUIDs become whole UUIDs, so that a GPU has one name whoever
    names it. What the driver does not list, such as a MIG instance, is passed on as it is.
    """
    if VISIBLE not in os.environ:
        return list(installed_gpus())
    names = [name.strip() for name in os.environ[VISIBLE].split(",")]
    return [_uuid(name) for name in names if name and not name.startswith("-")]


def _uuid(name: str) -> str:
    gpus = installed_gpus()
    if name.isdecimal():
        return gpus[int(name)] if int(name) < len(gpus) else name
    matching = [uuid for uuid in gpus if uuid.startswith(name)]
    return matching[0] if len(matching) == 1 else name


@cache
def installed_gpus() -> tuple[str, ...]:
    """The UUIDs of all GPUs that NVIDIA's driver shows, in its order; a driver that fails is reported, once."""
    try:
        pynvml.nvmlInit()
        handles = map(pynvml.nvmlDeviceGetHandleByIndex, range(pynvml.nvmlDeviceGetCount()))
        return tuple(map(pynvml.nvmlDeviceGetUUID, handles))
    except pynvml.NVMLError_LibraryNotFound:  # no NVIDIA driver is installed: an ordinary CPU machine
        return ()
    except pynvml.NVMLError as error:
        print(f"warning: NVIDIA's driver fails ({error}), so no GPU is found; see nvidia-smi", file=sys.stderr)
        return ()
