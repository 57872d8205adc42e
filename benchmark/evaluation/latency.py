"""Wall-clock time, memory and busy threads of a model at its operating points."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from dynalay.classifier import AdaptiveClassifier, OperatingPoint
from dynalay.meter import Meter

_PROCESS = Path("/proc/self")


@dataclass
class _Case:
    """One batch size at one operating point, and what was measured of it.

    Attributes:
        passes: seconds of each timed pass.
        calls: seconds of each batch of the timed passes.
        busy: processor seconds of all threads in the timed passes.
        peak: bytes of memory in use at most while warming up.
    """

    size: int
    point: OperatingPoint
    passes: list[float] = field(default_factory=list)
    calls: list[float] = field(default_factory=list)
    busy: float = 0.0
    peak: float = float("nan")


@torch.inference_mode()
def measure(
    model: AdaptiveClassifier,
    points: Sequence[OperatingPoint],
    passes: Mapping[int, Tensor],
    repeats: int,
) -> pd.DataFrame:
    """Time whole passes through images, so that easy and hard samples count as often as they occur.

    Each batch is waited for before the next one is started, as requests are that come one by one.

    Args:
        model: from `for_inference`, on the device of the images; the components run as optimised for inference.
        points: distinct operating points.
        passes: by batch size, the images of a pass: normalised, float [samples, channels, height, width].
        repeats: timed passes, after one to warm up; they alternate, so that other load slows all alike.

    Returns:
        One row per operating point and batch size: operating_point, knob, batch_size, and

        - milliseconds_per_sample: the median pass's, with lower_quartile and upper_quartile;
        - p50, p95, p99: percentiles of the milliseconds that one batch takes, of so many `calls`;
        - threads: as configured; busy_threads: processor time by wall time, so how many really computed on average;
        - peak_memory_mib: of the process on a CPU (NaN where the system does not say), of torch's memory on a GPU.
    """
    cases = [_Case(size, point) for size, point in product(passes, points)]
    for case in cases:
        images = passes[case.size]
        known = _forget_peak(images.device)
        _run(model, case, images)
        if known:
            case.peak = _peak_memory(images.device)
    for _ in range(repeats):
        for case in cases:
            busy = time.process_time()
            calls = _run(model, case, passes[case.size])
            case.busy += time.process_time() - busy
            case.calls += calls
            case.passes.append(sum(calls))
    return pd.DataFrame([_row(case, len(passes[case.size])) for case in cases])


def _run(model: AdaptiveClassifier, case: _Case, images: Tensor) -> list[float]:
    """Seconds of each batch of a pass."""
    components, seconds = model.inference_components(), []
    _wait_for(images.device)
    for batch in images.split(case.size):
        started = time.perf_counter()
        model.classify(batch, case.point, Meter(components, len(batch), images.device))
        _wait_for(images.device)
        seconds.append(time.perf_counter() - started)
    return seconds


def _row(case: _Case, samples: int) -> dict[str, float | str]:
    lower, median, upper = 1e3 * np.quantile(case.passes, [0.25, 0.5, 0.75]) / samples
    p50, p95, p99 = 1e3 * np.quantile(case.calls, [0.5, 0.95, 0.99])
    return {
        "operating_point": case.point.name,
        "knob": case.point.knob,
        "batch_size": case.size,
        "milliseconds_per_sample": median,
        "lower_quartile": lower,
        "upper_quartile": upper,
        "p50": p50,
        "p95": p95,
        "p99": p99,
        "calls": len(case.calls),
        "threads": torch.get_num_threads(),
        "busy_threads": case.busy / sum(case.passes),
        "peak_memory_mib": case.peak / 2**20,
    }


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _forget_peak(device: torch.device) -> bool:
    """Start measuring the peak of memory from here, if possible; Linux resets a process's peak on this request."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return True
    try:
        (_PROCESS / "clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _peak_memory(device: torch.device) -> float:
    """Bytes in use at most since `_forget_peak`."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    lines = (_PROCESS / "status").read_text().splitlines()
    return next((1024.0 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), float("nan"))
