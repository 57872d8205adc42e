"""Accuracy and compute on the validation split, once an epoch."""

import torch

from benchmark.data import Dataset
from benchmark.training.batches import batches
from dynalay.classifier import AdaptiveClassifier
from dynalay.meter import Meter


@torch.inference_mode()
def validate(model: AdaptiveClassifier, dataset: Dataset, device: torch.device) -> tuple[float, float]:
    """Accuracy and mean MACs on the validation split at the model's default operating point."""
    model.eval()
    correct, macs = torch.zeros((), device=device), torch.zeros((), dtype=torch.int64, device=device)
    component_macs = model.component_macs().to(device)
    for images, labels in batches(dataset.validation, dataset, device):
        meter = Meter(model.components(), len(labels), device)
        correct += (model.classify(images, model.default_point, meter).argmax(dim=1) == labels).sum()
        macs += meter.macs(component_macs).sum()
    model.train()
    samples = len(dataset.validation.labels)
    return correct.item() / samples, macs.item() / samples
