"""Energy that devices report: the RAPL counters of Intel and AMD processors, and those of NVIDIA's driver.

Both count for the whole device, whatever else runs on it, and not for memory (unless the processor counts it), disks or
cooling. A device that reports nothing, such as most virtual machines or RAPL without permission to read, is left out.
So is a GPU that several runs may share, since its counter would charge each of them with all.
"""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pynvml
import torch

from benchmark.training.gpu_slots import slots_per_gpu

POWERCAP = Path("/sys/class/powercap")


class EnergyMeter:
    """Joules used between calls.

    Args:
        device: whose energy counts beside the processors'.
        powercap: where the kernel shows the RAPL counters.
    """

    def __init__(self, device: torch.device, powercap: Path = POWERCAP) -> None:
        # intel-rapl:0 is a processor; intel-rapl:0:1 would be a part of it.
        self._packages = [path for path in sorted(powercap.glob("intel-rapl:*")) if path.name.count(":") == 1]
        self._gpu = _nvml_device(device) if device.type == "cuda" and slots_per_gpu() == 1 else None
        self._last = self._read()

    def joules(self) -> dict[str, float]:
        """Joules since the last call, or since the meter was made: of "cpu" and "gpu", where they are known.

        A RAPL counter wraps around about once an hour under load, so call more often than that.
        """
        now, last = self._read(), self._last
        self._last = now
        spent: dict[str, float] = {}
        for name, (kind, joules, span) in now.items():
            if name in last:
                spent[kind] = spent.get(kind, 0.0) + (joules - last[name][1]) % span
        return spent

    def _read(self) -> dict[str, tuple[str, float, float]]:
        """Every counter: its kind, its value, and the value at which it wraps around, in joules."""
        counters = {}
        for package in self._packages:
            try:
                stand, span = (int((package / name).read_text()) for name in ("energy_uj", "max_energy_range_uj"))
            except (OSError, ValueError):
                continue
            counters[package.name] = ("cpu", stand / 1e6, span / 1e6)
        if self._gpu is not None:
            with suppress(pynvml.NVMLError):
                millijoules = pynvml.nvmlDeviceGetTotalEnergyConsumption(self._gpu)
                counters["gpu"] = ("gpu", millijoules / 1e3, float("inf"))
        return counters


def _nvml_device(device: torch.device) -> Any:
    """The driver's handle of a GPU, which it knows by UUID; None if the driver does not give one."""
    try:
        pynvml.nvmlInit()
        return pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
    except pynvml.NVMLError:
        return None
