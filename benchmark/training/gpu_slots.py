"""GPUs of one machine, shared by processes that know nothing of each other.

Snakemake limits how many jobs use a GPU but assigns none, so each job takes a *slot*: a lock on a small file of this
machine, which the kernel releases when the process ends, however it ends. `DYNALAY_SLOTS_PER_GPU` (default 1) runs may
share a GPU; the GPU with the most free slots comes first.
"""

import fcntl
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path

from benchmark.errors import UserError
from benchmark.training.gpus import VISIBLE, visible_gpus

SLOTS = "DYNALAY_SLOTS_PER_GPU"


@contextmanager
def gpu_slot(device: str = "auto", poll_seconds: float = 0.5) -> Iterator[str | None]:
    """Hold a slot and let CUDA see only its GPU; wait, with a message, while all slots are taken.

    Enter it before CUDA is first used in the process: CUDA reads `CUDA_VISIBLE_DEVICES` once.

    Args:
        device: "cpu" takes no slot.
        poll_seconds: how long to wait before trying again.

    Yields:
        The GPU as `CUDA_VISIBLE_DEVICES` names it, or None where there is none or none is wanted.

    Raises:
        UserError: `DYNALAY_SLOTS_PER_GPU` is not a positive number.
    """
    gpus = [] if device == "cpu" else visible_gpus()
    if not gpus:
        yield None
        return
    gpu, lock = _take(gpus, slots_per_gpu(), poll_seconds)
    before = os.environ.get(VISIBLE)
    os.environ[VISIBLE] = gpu
    try:
        yield gpu
    finally:
        os.close(lock)
        if before is None:
            del os.environ[VISIBLE]
        else:
            os.environ[VISIBLE] = before


def _take(gpus: Sequence[str], slots_per_gpu: int, poll_seconds: float) -> tuple[str, int]:
    """A free slot's GPU and its locked file."""
    folder = Path(tempfile.gettempdir()) / f"dynalay-gpu-slots-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    # Slurm numbers GPUs from 0 in each allocation, so equal names mean equal GPUs only within one.
    allocation = os.environ.get("SLURM_JOB_ID", "machine")
    waiting = False
    while True:
        for slot, gpu in product(range(slots_per_gpu), gpus):
            name = f"{allocation}.{gpu}.{slot}".replace("/", "-")  # parts of a GPU may have slashes in their names
            lock = os.open(folder / name, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
            else:
                return gpu, lock
        if not waiting:
            print(f"waiting: all {len(gpus)} x {slots_per_gpu} GPU slots are taken", file=sys.stderr, flush=True)
            waiting = True
        time.sleep(poll_seconds)


def slots_per_gpu() -> int:
    """How many runs may share a GPU.

    Raises:
        UserError: `DYNALAY_SLOTS_PER_GPU` is not a positive number.
    """
    given = os.environ.get(SLOTS, "1")
    if not given.isdecimal() or int(given) < 1:
        raise UserError(f"{SLOTS} is {given!r}; it must be how many runs may share a GPU: 1 or more.")
    return int(given)
