"""Accuracy and compute on the validation split, once an epoch."""

import math
from typing import NamedTuple

import torch

from benchmark.data import Dataset
from benchmark.training.batches import batches
from dynalay.classifier import AdaptiveClassifier
from dynalay.meter import Meter


class Validation(NamedTuple):
    """What a model does on the validation split at its default operating point.

    Attributes:
        accuracy: the share of correct predictions.
        macs: mean MACs of a sample.
        largest_output: the largest absolute logit; NaN if one is NaN.
    """

    accuracy: float
    macs: float
    largest_output: float


#: Of a process that leaves validation to the leader of its team.
NOT_VALIDATED = Validation(math.nan, math.nan, 0.0)


@torch.inference_mode()
def validate(model: AdaptiveClassifier, dataset: Dataset, device: torch.device) -> Validation:
    """Validate `model`, which is in training mode before and after."""
    model.eval()
    correct, macs = torch.zeros((), device=device), torch.zeros((), dtype=torch.int64, device=device)
    largest = torch.zeros((), device=device)
    component_macs = model.component_macs().to(device)
    for images, labels in batches(dataset.validation, dataset, device):
        meter = Meter(model.components(), len(labels), device)
        logits = model.classify(images, model.default_point, meter)
        correct += (logits.argmax(dim=1) == labels).sum()
        macs += meter.macs(component_macs).sum()
        largest = torch.maximum(largest, logits.abs().max())  # NaN stays NaN
    model.train()
    samples = len(dataset.validation.labels)
    return Validation(correct.item() / samples, macs.item() / samples, largest.item())
