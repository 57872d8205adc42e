"""Record what a trained model does with every sample at every operating point."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from benchmark.data import Dataset, Split
from benchmark.errors import UserError
from benchmark.experiment import provenance
from benchmark.experiment.configuration import Run
from benchmark.training import checkpoint
from benchmark.training.batches import batches
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
def evaluate(model: AdaptiveClassifier, dataset: Dataset, device: torch.device) -> pd.DataFrame:
    """One row per split, operating point and sample, as `benchmark.evaluation.records` describes them."""
    # Two thresholds so close that they have the same name are one point.
    points = {point.name: point for point in model.operating_points(batches(dataset.validation, dataset, device))}
    todo = [
        (name, split, point)
        for name, split in (("validation", dataset.validation), ("test", dataset.test))
        for point in points.values()
    ]
    return pd.concat(
        [
            _recorded(model, dataset, split, name, point, device)
            for name, split, point in tqdm(todo, "operating points", leave=False, disable=None)
        ],
        ignore_index=True,
    )


def _recorded(
    model: AdaptiveClassifier,
    dataset: Dataset,
    split: Split,
    split_name: str,
    point: OperatingPoint,
    device: torch.device,
) -> pd.DataFrame:
    components = model.components()
    component_macs = model.component_macs().to(device)
    parts: list[dict[str, np.ndarray]] = []
    for images, labels in batches(split, dataset, device):
        meter = Meter(components, len(labels), device)
        probabilities = model.classify(images, point, meter).float().softmax(dim=1)
        confidence, prediction = probabilities.max(dim=1)
        columns = {
            "label": labels,
            "prediction": prediction,
            "confidence": confidence,
            "macs": meter.macs(component_macs),
        }
        columns |= {f"executions.{name}": meter.executions[:, column] for column, name in enumerate(components)}
        columns |= {f"note.{name}": values for name, values in meter.notes.items()}
        parts.append({name: values.cpu().numpy() for name, values in columns.items()})
    samples = len(split.labels)
    frame = pd.concat([pd.DataFrame(part) for part in parts], ignore_index=True)
    frame.insert(0, "split", split_name)
    frame.insert(1, "sample", np.arange(samples))
    frame.insert(4, "difficulty", split.difficulty.numpy())
    frame.insert(5, "policy", point.policy)
    frame.insert(6, "operating_point", point.name)
    frame.insert(7, "knob", point.knob)
    if split.group is not None:
        frame.insert(8, "group", pd.Categorical.from_codes(split.group.numpy(), dataset.groups))
    return frame
