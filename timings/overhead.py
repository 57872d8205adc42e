"""What a training step spends outside forward, backward and optimiser, and how fast batches are drawn.

    python -m timings.overhead
    python -m timings.overhead --config config/fashion.yaml --steps 4 --repeats 7

The suite's loop is compared with the same steps on one batch that lies ready: forward, backward, clipping, optimiser.
"Data path" is how many times faster batches are drawn, augmented and normalised than training consumes them. Images
are noise of the datasets' shapes. The processor time of one thread is measured, and the loops take turns, so other
load on the machine shows little; each ratio compares neighbours in time.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmark import data
from benchmark.data import Dataset, Split
from benchmark.experiment import configuration
from benchmark.experiment.configuration import Run
from benchmark.training.batches import TrainingBatches
from benchmark.training.building import build_model, build_optimizer
from benchmark.training.distributed import ALONE
from benchmark.training.loop import forward, set_learning_rate, update
from benchmark.training.precision import autocast
from benchmark.training.progress import Progress
from benchmark.training.schedule import one_cycle, phase_at
from benchmark.training.streams import Streams
from dynalay.classifier import TrainingState
from dynalay.meter import Meter

CPU = torch.device("cpu")


def noise(run: Run, samples: int) -> Dataset:
    """So many samples of noise in the shape of the run's dataset."""
    facts = data.facts(run.dataset_kind, run.dataset_parameters, Path("data"))
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (samples, *facts.image_shape), generator=generator, dtype=torch.uint8)
    labels = torch.randint(len(facts.classes), (samples,), generator=generator)
    split = Split(images, labels, torch.full((samples,), torch.nan))
    mean, std = (0.5,) * facts.image_shape[0], (0.25,) * facts.image_shape[0]
    return Dataset(run.dataset_kind, facts.classes, mean, std, split, split, split, None, "")


def loops(run: Run, steps: int) -> tuple[Callable[[], None], Callable[[], None], Callable[[], None]]:
    """So many steps of the suite's loop, on one ready batch, and of drawing batches alone."""
    recipe = run.recipe
    dataset = noise(run, steps * recipe.batch_size)
    model = build_model(run, dataset, CPU).train()
    optimizer = build_optimizer(model, recipe)
    streams = Streams(0, CPU)
    batches = TrainingBatches(dataset, recipe, streams, CPU, ALONE)
    component_macs = model.component_macs()
    progress = Progress(threads=1)
    ready, targets = next(batches.rest_of_epoch(0))

    def suite() -> None:
        for images, labels in batches.rest_of_epoch(0):
            phase, position = phase_at(model.phases, 0.5)
            set_learning_rate(optimizer, recipe.learning_rate * phase.peak * one_cycle(position, recipe.warmup))
            state = TrainingState(position, streams.method, phase.name)
            loss, values = forward(model, images, labels, state, recipe, component_macs)
            update(model, optimizer, loss, recipe.gradient_clip, ALONE, False)
            progress.add(values)
        progress.means()

    def bare() -> None:
        phase, position = phase_at(model.phases, 0.5)
        for step in range(steps):
            streams.seek(step)  # what a method samples, and so its compute, is the same in both loops
            state = TrainingState(position, streams.method, phase.name)
            with autocast(recipe, CPU):
                loss, _ = model.training_loss(ready, targets, Meter(model.components(), len(ready)), state)
            optimizer.zero_grad()
            loss.backward()
            if recipe.gradient_clip is not None:
                torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.gradient_clip)
            optimizer.step()

    def draw() -> None:
        for _ in batches.rest_of_epoch(0):
            pass

    return suite, bare, draw


def seconds(work: Callable[[], object]) -> float:
    """Processor time."""
    started = time.process_time()
    work()
    return time.process_time() - started


def main() -> None:
    """Print a row for each dataset and method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=Path("config/quick.yaml"), help="(default: config/quick.yaml)")
    parser.add_argument("--steps", type=int, default=10, help="steps in a turn (default: 10)")
    parser.add_argument("--repeats", type=int, default=9, help="turns (default: 9)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    experiment = configuration.load(arguments.config)
    print("| run | step, ms | outside, % | from - to | data path, times faster |\n|---|---|---|---|---|")
    for dataset, method in itertools.product(experiment.datasets, experiment.methods):
        run = experiment.run(dataset, method, experiment.seeds[0])
        work = loops(run, arguments.steps)
        for each in work:
            each()
        turns = [[seconds(each) for each in work] for _ in range(arguments.repeats)]
        outside = [100 * (suite / bare - 1) for suite, bare, _ in turns]
        faster = statistics.median(suite / draw for suite, _, draw in turns)
        step = statistics.median(1e3 * suite / arguments.steps for suite, _, _ in turns)
        print(
            f"| {dataset}/{method} | {step:.1f} | {statistics.median(outside):.1f} | "
            f"{min(outside):.1f} - {max(outside):.1f} | {faster:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
