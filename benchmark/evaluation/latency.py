"""Measure a trained run's wall-clock time per sample at the operating points of its curve, on this device.

Examples:
  python -m benchmark latency --config config/quick.yaml --dataset digits --method dynalay --seed 0
  python -m benchmark latency --config config/fashion.yaml --dataset fashion_mnist --method act --seed 0 \
      --batch-sizes 1 128 --threads 1

Fewer MACs save time only as far as the device is kept busy, so several batch sizes are timed.  Controls, which decide
at random or by a rule in the method's place, are not.  Writes latency.csv into the run's folder; the figure
accuracy_latency shows it.  Measure on a machine that does nothing else.
"""

import time
from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from dynalay.classifier import AdaptiveClassifier, OperatingPoint
from dynalay.meter import Meter


@torch.inference_mode()
def measure(
    model: AdaptiveClassifier,
    points: Sequence[OperatingPoint],
    passes: Mapping[int, Tensor],
    repeats: int,
) -> pd.DataFrame:
    """Time per sample over whole passes through images, so that easy and hard samples count as often as they occur.

    Args:
        model: in inference mode, on the device of the images.
        points: distinct operating points.
        passes: by batch size, the images of a pass: normalised, float [samples, channels, height, width].
        repeats: timed passes, after one to warm up; they alternate, so that other load slows all alike.

    Returns:
        One row per operating point and batch size: operating_point, knob, batch_size, and milliseconds_per_sample (the
        median pass's) with lower_quartile and upper_quartile.
    """
    components = model.components()

    def milliseconds(size: int, point: OperatingPoint) -> float:
        images = passes[size]
        _wait_for(images.device)
        started = time.perf_counter()
        for batch in images.split(size):
            model.classify(batch, point, Meter(components, len(batch), images.device))
        _wait_for(images.device)
        return 1e3 * (time.perf_counter() - started) / len(images)

    cases = list(product(passes, points))
    times = [[milliseconds(*case) for case in cases] for _ in range(1 + repeats)][1:]
    lower, median, upper = np.quantile(times, [0.25, 0.5, 0.75], axis=0)
    return pd.DataFrame(
        {
            "operating_point": [point.name for _, point in cases],
            "knob": [point.knob for _, point in cases],
            "batch_size": [size for size, _ in cases],
            "milliseconds_per_sample": median,
            "lower_quartile": lower,
            "upper_quartile": upper,
        }
    )


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
