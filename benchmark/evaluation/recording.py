"""Record what a trained model does with every sample at every operating point."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from benchmark.data import Dataset, Split
from benchmark.errors import UserError
from benchmark.experiment import provenance
from benchmark.experiment.configuration import Run
from benchmark.training import checkpoint
from benchmark.training.batches import batches, evaluation_batch
from benchmark.training.building import build_model
from dynalay.classifier import AdaptiveClassifier, OperatingPoint
from dynalay.meter import Meter


def load_trained(run: Run, dataset: Dataset, folder: Path, device: torch.device) -> AdaptiveClassifier:
    """The run's trained model, in inference mode.

    Raises:
        UserError: it is not trained, was trained with another configuration, data or code, or its file is damaged.
    """
    path = folder / "model.safetensors"
    train = f"python -m benchmark train --dataset {run.dataset} --method {run.method} --seed {run.seed} ..."
    digest = checkpoint.weights_digest(path)
    if digest is None:
        raise UserError(f"{run} is not trained: {path} is missing; run `{train}` first.")
    description = provenance.read(folder)
    if not description:
        raise UserError(
            f"run.json beside {path} is missing or damaged, so nothing says how it was made; run `{train}` again."
        )
    if not provenance.owns(run, description, digest):
        raise UserError(f"{path} was trained with another configuration than the one given; run `{train}` again.")
    if (data := description.get("data")) != dataset.fingerprint:
        raise UserError(
            f"{path} was trained on other data than {run.dataset} is now (fingerprint {str(data)[:12]}, now "
            f"{dataset.fingerprint[:12]}); restore the data, or run `{train} --restart`."
        )
    model = build_model(run, dataset, device)
    try:
        model.load_state_dict(checkpoint.load_weights(path, device))
    except RuntimeError:  # names or shapes differ: the configuration is the same, so the code is not
        raise UserError(
            f"{path} holds another network than {run.method_kind} builds now, that of an earlier version of its code; "
            f"run `{train} --restart`, or evaluate with the commit that run.json names."
        ) from None
    return model.eval()


@torch.inference_mode()
def operating_points(model: AdaptiveClassifier, dataset: Dataset, device: torch.device) -> list[OperatingPoint]:
    """The points to evaluate, chosen on the validation split; each has a name of its own."""
    found = model.operating_points(batches(dataset.validation, dataset, device))
    # Two thresholds so close that they have the same name are one point.
    return list({point.name: point for point in found}.values())


@torch.inference_mode()
def evaluate(
    model: AdaptiveClassifier, dataset: Dataset, device: torch.device, points: Sequence[OperatingPoint]
) -> pd.DataFrame:
    """One row per split, operating point and sample, as `benchmark.evaluation.records` describes them."""
    return pd.concat(
        [
            frame
            for name, split in (("validation", dataset.validation), ("test", dataset.test))
            for frame in _recorded(model, dataset, split, name, points, device)
        ],
        ignore_index=True,
    )


@torch.inference_mode()
def evaluate_on_validation(model: AdaptiveClassifier, dataset: Dataset, device: torch.device) -> pd.DataFrame:
    """The rows of `evaluate` for the validation split and the method's own operating points alone."""
    points = [point for point in operating_points(model, dataset, device) if point.policy == "own"]
    return pd.concat(_recorded(model, dataset, dataset.validation, "validation", points, device), ignore_index=True)


def _recorded(
    model: AdaptiveClassifier,
    dataset: Dataset,
    split: Split,
    split_name: str,
    points: Sequence[OperatingPoint],
    device: torch.device,
) -> Iterator[pd.DataFrame]:
    """The records of a split, one frame an operating point."""
    component_macs = model.component_macs().to(device)
    parts: list[list[pd.DataFrame]] = [[] for _ in points]
    count = math.ceil(len(split.labels) / evaluation_batch(dataset.image_shape))
    shown = tqdm(batches(split, dataset, device), split_name, count, leave=False, disable=None)
    for images, labels in shown:
        for place, (logits, meter) in enumerate(model.classify_at(images, points)):
            parts[place].append(_outcome(labels, logits, meter, component_macs))
    for point, part in zip(points, parts, strict=True):
        frame = pd.concat(part, ignore_index=True)
        frame.insert(0, "split", split_name)
        frame.insert(1, "sample", np.arange(len(frame)))
        frame.insert(4, "difficulty", split.difficulty.numpy())
        frame.insert(5, "policy", point.policy)
        frame.insert(6, "operating_point", point.name)
        frame.insert(7, "knob", point.knob)
        if split.group is not None:
            frame.insert(8, "group", pd.Categorical.from_codes(split.group.numpy(), dataset.groups))
        yield frame


def _outcome(labels: Tensor, logits: Tensor, meter: Meter, component_macs: Tensor) -> pd.DataFrame:
    """What a batch's samples were answered, at which compute, and with which notes."""
    confidence, prediction = logits.float().softmax(dim=1).max(dim=1)
    columns = {"label": labels, "prediction": prediction, "confidence": confidence, "macs": meter.macs(component_macs)}
    columns |= {f"executions.{name}": meter.executions[:, column] for column, name in enumerate(meter.components)}
    columns |= {f"note.{name}": values for name, values in meter.notes.items()}
    return pd.DataFrame({name: values.cpu().numpy() for name, values in columns.items()})
