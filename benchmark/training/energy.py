"""Energy that the device says it has used: Intel's and AMD's RAPL counters, and those of NVIDIA's driver.

Both count for the whole device, whatever else runs on it, and not for memory (unless the processor counts it), disks or
cooling.  A device that does not tell, as most virtual machines and RAPL without the right to read it, is left out.
"""

import ctypes
from pathlib import Path

import torch

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
        self._gpu = _nvml_device(device) if device.type == "cuda" else None
        self._last = self._read()

    def joules(self) -> dict[str, float]:
        """Joules since the last call, or since the meter was made: of "cpu" and "gpu", where they are known.

        A RAPL counter begins anew about once an hour under load, so call more often than that.
        """
        now, last = self._read(), self._last
        self._last = now
        spent: dict[str, float] = {}
        for name, (kind, joules, span) in now.items():
            if name in last:
                spent[kind] = spent.get(kind, 0.0) + (joules - last[name][1]) % span
        return spent

    def _read(self) -> dict[str, tuple[str, float, float]]:
        """Every counter: its kind, where it stands, and where it begins anew, in joules."""
        counters = {}
        for package in self._packages:
            try:
                stand, span = (int((package / name).read_text()) for name in ("energy_uj", "max_energy_range_uj"))
            except (OSError, ValueError):
                continue
            counters[package.name] = ("cpu", stand / 1e6, span / 1e6)
        if self._gpu is not None:
            millijoules = ctypes.c_ulonglong()
            if self._gpu[0].nvmlDeviceGetTotalEnergyConsumption(self._gpu[1], ctypes.byref(millijoules)) == 0:
                counters["gpu"] = ("gpu", millijoules.value / 1e3, float("inf"))
        return counters


def _nvml_device(device: torch.device) -> tuple[ctypes.CDLL, ctypes.c_void_p] | None:
    """The driver's management library and its handle of a GPU, which it knows by UUID; None where either is missing.

    One function of it is needed, which is no reason to make every user install its Python bindings.
    """
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return None
    uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}".encode()
    handle = ctypes.c_void_p()
    if nvml.nvmlInit_v2() or nvml.nvmlDeviceGetHandleByUUID(uuid, ctypes.byref(handle)):
        return None
    return nvml, handle
