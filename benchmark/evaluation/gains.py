"""What a run's agent expected of each layer against what came of it, on test samples: `gains.csv`.

One row per layer and bin. The bins of a layer hold equally many decisions each, from the lowest prediction to the
highest, of all the method's own operating points together.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from benchmark.data import Dataset, Split
from benchmark.training.batches import batches
from dynalay.classifier import AdaptiveClassifier, OperatingPoint
from dynalay.trace import Gains

FILE = "gains.csv"
#: Test samples, evenly spaced, for which all plans are run at most; and bins of each layer.
SAMPLES, BINS = 5000, 10


@torch.inference_mode()
def measure(
    model: AdaptiveClassifier, dataset: Dataset, device: torch.device, points: Sequence[OperatingPoint]
) -> pd.DataFrame | None:
    """The bins; None for a method that predicts no gains.

    Args:
        model: trained, in evaluation mode.
        dataset: whose test split is read.
        device: of the model.
        points: those recorded; the method's own are looked at.
    """
    own = [point for point in points if point.policy == "own"]
    test, count = dataset.test, min(len(dataset.test.labels), SAMPLES)
    places = torch.arange(count) * len(test.labels) // count
    split = Split(test.images[places], test.labels[places], test.difficulty[places])
    found, first = [], 0
    for images, labels in batches(split, dataset, device):
        part = model.gains(images, labels, own)
        if part is None:
            return None
        found.append(Gains(part.layer, part.sample + first, part.predicted, part.realised))
        first += len(images)
    return binned(Gains.joined(found))


def binned(gains: Gains) -> pd.DataFrame:
    """By layer and bin: decisions, distinct samples, mean predicted and realised gain, and its standard error.

    A sample stands in a bin as often as it was decided about there, so the error is that of the mean over samples,
    each with all of its decisions (a cluster).
    """
    frame = pd.DataFrame({name: getattr(gains, name).cpu().numpy() for name in gains.__dataclass_fields__})
    rank = frame.groupby("layer")["predicted"].rank(method="first")
    size = frame.groupby("layer")["predicted"].transform("size")
    frame["bin"] = ((rank - 1) * BINS / size).astype(int)
    rows = []
    for (layer, number), part in frame.groupby(["layer", "bin"]):
        realised = part["realised"].mean()
        of_sample = (part["realised"] - realised).groupby(part["sample"]).sum()
        error = np.sqrt((of_sample**2).sum()) / len(part)
        rows.append((layer, number, len(part), len(of_sample), part["predicted"].mean(), realised, error))
    return pd.DataFrame(rows, columns=["layer", "bin", "decisions", "samples", "predicted", "realised", "error"])
