"""What an experiment costs: every method timed for a few steps on noise of each dataset's shape."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from benchmark import data
from benchmark.data import Dataset, Split
from benchmark.errors import UserError
from benchmark.experiment.configuration import Configuration, Run
from benchmark.training.loop import autocast, build_model, build_optimizer
from dynalay.classifier import Phase, TrainingState
from dynalay.meter import Meter

#: Image shape, classes, and official training and test samples of the datasets that must be downloaded.
PUBLISHED: Mapping[str, tuple[tuple[int, int, int], int, int, int]] = {
    "mnist": ((1, 28, 28), 10, 60_000, 10_000),
    "fashion_mnist": ((1, 28, 28), 10, 60_000, 10_000),
    "kmnist": ((1, 28, 28), 10, 60_000, 10_000),
    "cifar10": ((3, 32, 32), 10, 50_000, 10_000),
    "cifar100": ((3, 32, 32), 100, 50_000, 10_000),
    "svhn": ((3, 32, 32), 10, 73_257, 26_032),
}
#: Classes of the datasets whose parameters say the rest.
GENERATED: Mapping[str, int] = {"maze": 2, "ising": 4}
#: Of a row of records on disk, compressed: confidence and residuals are floats, which hardly become smaller.
BYTES_PER_RECORD = 16
#: A training step takes about as long as this many forward passes.
FORWARDS_PER_STEP = 3
#: Enough samples to meter a method's MACs by.
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
        experiment: what is to run.
        folder: of all data; what is prepared there is taken for what it is.
        device: what is timed.
        given: "dataset/method=images per second in training", to time nothing.
        startup: seconds that a run takes before it computes anything.

    Returns:
        dataset, method, runs, training_images_per_second, evaluation_images_per_second, hours_per_run, hours,
        record_bytes and model_bytes (of all runs), data_bytes (of the dataset).

    Raises:
        UserError: `given` names no run of the experiment or no speed, or an image folder is missing.
    """
    runs = [run for run in experiment.runs() if run.seed == experiment.seeds[0]]
    shapes = {label: dataset_shape(*experiment.dataset(label), folder) for label in experiment.datasets}
    macs_per_second = None if given is None else _macs_per_second(given, experiment, shapes, device)
    paces: dict[Any, Pace] = {}
    rows = []
    for run in runs:
        dataset = shapes[run.dataset]
        size, precision = _batch(run, dataset), run.recipe.precision
        alike = (run.method_kind, str(run.method_parameters), dataset.image_shape, size, precision)
        if alike not in paces:  # datasets of one shape take equally long
            paces[alike] = measure(run, dataset, device, macs_per_second)
        pace = paces[alike]
        train, validation, test = (len(split.labels) for split in (dataset.train, dataset.validation, dataset.test))
        trained = train // size * size
        recorded = pace.points * (validation + test)
        seconds = startup + run.recipe.epochs * (trained * pace.training + validation * pace.evaluation)
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
                "data_bytes": sum(map(_bytes, (dataset.train, dataset.validation, dataset.test))),
            }
        )
    return pd.DataFrame(rows)


def dataset_shape(kind: str, parameters: Mapping[str, Any], folder: Path) -> Dataset:
    """The dataset as far as cost goes: where it is not prepared, and that takes long, images are blank."""
    try:
        return data.load(kind, parameters, folder)
    except UserError:
        pass
    if kind in PUBLISHED:
        shape, classes, train, test = PUBLISHED[kind]
        held = parameters["validation"]
        validation = round(held * train) if held < 1 else int(held)
        train = min(train - validation, parameters["train_samples"] or train)
        test = min(test, parameters["test_samples"] or test)
    elif kind in GENERATED:
        shape, classes = (2, parameters["size"], parameters["size"]), GENERATED[kind]
        train, validation, test = (parameters[split] for split in ("train", "validation", "test"))
    else:
        data.prepare(kind, parameters, folder)
        return data.load(kind, parameters, folder)
    return Dataset(
        name=kind,
        classes=tuple(map(str, range(classes))),
        mean=(0.5,) * shape[0],
        std=(0.5,) * shape[0],
        train=_blank(shape, train),
        validation=_blank(shape, validation),
        test=_blank(shape, test),
        difficulty_name=None,
        fingerprint="",
    )


def _blank(shape: tuple[int, int, int], samples: int) -> Split:
    """So many samples that take no memory."""
    return Split(torch.zeros(1, *shape, dtype=torch.uint8).expand(samples, -1, -1, -1),
                 torch.zeros(1, dtype=torch.int64).expand(samples),
                 torch.zeros(1).expand(samples))  # fmt: skip


def measure(run: Run, dataset: Dataset, device: torch.device, macs_per_second: float | None = None) -> Pace:
    """The pace of a run's method on noise of the dataset's shape.

    Args:
        run: its method, parameters and recipe matter, its seed does not.
        dataset: its shape and classes matter.
        device: what is timed.
        macs_per_second: forward MACs that training gets through in a second; if given, MACs are metered and none timed.
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
        # Thresholds that coincide in an untrained model need not do so in a trained one.
        points=max(found, run.method_parameters.get("points", 1)),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
    )


def seconds(work: Callable[[], object], device: torch.device, repeats: int = 3) -> float:
    """The median duration of `work` after one call to warm up: one thread's time on a CPU, wall-clock time on a GPU."""
    cuda = device.type == "cuda"
    clock = time.perf_counter if cuda else time.process_time
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        durations = []
        for _ in range(1 + repeats):
            started = clock()
            work()
            if cuda:
                torch.cuda.synchronize(device)
            durations.append(clock() - started)
    finally:
        torch.set_num_threads(threads)
    return statistics.median(durations[1:])


def _macs_per_second(
    given: str, experiment: Configuration, shapes: Mapping[str, Dataset], device: torch.device
) -> float:
    """Forward MACs that training gets through in a second, where one method's images per second are given."""
    name, _, number = given.partition("=")
    dataset, _, method = name.partition("/")
    try:
        speed = float(number)
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        raise UserError(f"--images-per-second {given}: give DATASET/METHOD=NUMBER, such as cifar10/resnet20=9000.")
    run = experiment.run(dataset, method, experiment.seeds[0])
    return speed * measure(run, shapes[dataset], device, macs_per_second=1.0).training


def _batch(run: Run, dataset: Dataset) -> int:
    return min(run.recipe.batch_size, len(dataset.train.labels))


def _bytes(split: Split) -> int:
    """On disk, prepared."""
    return sum(array.numel() * array.element_size() for array in (split.images, split.labels, split.difficulty))
