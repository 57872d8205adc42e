"""Estimate what an experiment costs: each method is timed for a few steps on noise of each dataset's shape."""

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from benchmark import data
from benchmark.data import Facts
from benchmark.errors import UserError
from benchmark.experiment.configuration import Configuration, Run
from benchmark.training.building import build_model, build_optimizer
from benchmark.training.precision import autocast
from dynalay.classifier import Phase, TrainingState
from dynalay.meter import Meter

#: A sample's label (int64) and difficulty (float32) in prepared data.
BYTES_PER_LABEL = 12
#: A row of records on disk, compressed: confidence and residuals are floats, which become smaller by half at best.
BYTES_PER_RECORD = 8
#: A training step takes about as long as this many forward passes.
FORWARDS_PER_STEP = 3
#: Samples on which a method's MACs are metered.
METERED = 16


@dataclass(frozen=True)
class Pace:
    """What a method costs on images of one shape.

    Attributes:
        training: seconds in which one image passes through one training step, averaged over the phases.
        evaluation: seconds for one image at one operating point, at full compute.
        points: operating points.
        parameters: learnable numbers.
    """

    training: float
    evaluation: float
    points: int
    parameters: int


def estimate(
    experiment: Configuration, folder: Path, device: torch.device, given: str | None = None, startup: float = 0.0
) -> pd.DataFrame:
    """One row per (dataset, method).

    Args:
        experiment: the experiment to estimate.
        folder: the data folder; datasets that are prepared there are taken as they are.
        device: what is timed.
        given: "dataset/method=images per second in training", to time nothing.
        startup: seconds that a run takes before it computes anything.

    Returns:
        dataset, method, runs, training_images_per_second, evaluation_images_per_second, hours_per_run, hours,
        record_bytes and model_bytes (of all runs), data_bytes (of the dataset).

    Raises:
        UserError: `given` names no run of the experiment or no speed, or a dataset's facts cannot be had.
    """
    runs = [run for run in experiment.runs() if run.seed == experiment.seeds[0]]
    facts = {label: data.facts(*experiment.dataset(label), folder) for label in experiment.datasets}
    macs_per_second = None if given is None else _macs_per_second(given, experiment, facts, device)
    paces: dict[Any, Pace] = {}
    rows = []
    for run in runs:
        dataset = facts[run.dataset]
        size, precision = _batch(run, dataset), run.recipe.precision
        alike = (run.method_kind, str(run.method_parameters), dataset.image_shape, size, precision)
        if alike not in paces:  # datasets of the same shape take equally long
            paces[alike] = measure(run, dataset, device, macs_per_second)
        pace = paces[alike]
        trained = dataset.train // size * size
        recorded = pace.points * (dataset.validation + dataset.test)
        seconds = startup + run.recipe.epochs * (trained * pace.training + dataset.validation * pace.evaluation)
        seconds += recorded * pace.evaluation
        seeds = len(experiment.seeds)
        rows.append(
            {
                "dataset": run.dataset,
                "method": run.method,
                "runs": seeds,
                "training_images_per_second": 1 / pace.training,
                "evaluation_images_per_second": 1 / pace.evaluation,
                "hours_per_run": seconds / 3600,
                "hours": seeds * seconds / 3600,
                "record_bytes": seeds * recorded * BYTES_PER_RECORD,
                "model_bytes": seeds * 4 * pace.parameters,
                "data_bytes": _prepared_bytes(dataset),
            }
        )
    return pd.DataFrame(rows)


def measure(run: Run, dataset: Facts, device: torch.device, macs_per_second: float | None = None) -> Pace:
    """The pace of a run's method on noise of the dataset's shape.

    Args:
        run: its method, parameters and recipe count, its seed does not.
        dataset: what the run is trained on.
        device: what is timed.
        macs_per_second: forward MACs per second of training; if given, MACs are metered and nothing is timed.
    """
    model = build_model(run, dataset, device)
    optimizer = build_optimizer(model, run.recipe)
    components, macs = model.components(), model.component_macs().to(device)
    samples = _batch(run, dataset) if macs_per_second is None else METERED
    generator = torch.Generator(device).manual_seed(0)
    images = torch.randn(samples, *dataset.image_shape, generator=generator, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.randint(len(dataset.classes), (samples,), generator=generator, device=device)

    def step(phase: Phase) -> Meter:
        meter = Meter(components, samples, device)
        with autocast(run.recipe, device):
            loss, _ = model.training_loss(images, labels, meter, TrainingState(0.5, generator, phase.name))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return meter

    def classify() -> Meter:
        meter = Meter(components, samples, device)
        with torch.inference_mode():
            model.classify(images, model.default_point, meter)
        return meter

    def per_image(work: Callable[[], Meter], forwards: int) -> float:
        if macs_per_second is None:
            return seconds(work, device) / samples
        return work().macs(macs).double().mean().item() / macs_per_second * forwards / FORWARDS_PER_STEP

    ends = [*(phase.start for phase in model.phases[1:]), 1.0]
    model.train()
    training = sum(
        (end - phase.start) * per_image(lambda phase=phase: step(phase), FORWARDS_PER_STEP)  # type: ignore[misc]
        for phase, end in zip(model.phases, ends, strict=True)
    )
    model.eval()
    with torch.inference_mode():
        found = len(model.operating_points([(images, labels)]))
    return Pace(
        training=training,
        evaluation=per_image(classify, 1),
        # Thresholds that coincide in an untrained model may differ in a trained one.
        points=max(found, run.method_parameters.get("points", 1)),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
    )


def seconds(work: Callable[[], object], device: torch.device, repeats: int = 3) -> float:
    """Median duration of `work` after a warm-up call: processor time of one CPU thread, else wall time."""
    cuda = device.type == "cuda"
    clock = time.perf_counter if cuda or torch.get_num_threads() > 1 else time.process_time
    durations = []
    for _ in range(1 + repeats):
        started = clock()
        work()
        if cuda:
            torch.cuda.synchronize(device)
        durations.append(clock() - started)
    return statistics.median(durations[1:])


def _macs_per_second(given: str, experiment: Configuration, facts: Mapping[str, Facts], device: torch.device) -> float:
    """Forward MACs per second of training, from the images per second that are given for one method."""
    name, _, number = given.partition("=")
    dataset, _, method = name.partition("/")
    try:
        speed = float(number)
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        raise UserError(f"--images-per-second {given}: give DATASET/METHOD=NUMBER, such as cifar10/resnet20=9000.")
    run = experiment.run(dataset, method, experiment.seeds[0])
    return speed * measure(run, facts[dataset], device, macs_per_second=1.0).training


def _batch(run: Run, dataset: Facts) -> int:
    return min(run.recipe.batch_size, dataset.train)


def _prepared_bytes(dataset: Facts) -> int:
    """Of the arrays on disk."""
    samples = dataset.train + dataset.validation + dataset.test
    return samples * (math.prod(dataset.image_shape) + BYTES_PER_LABEL)
