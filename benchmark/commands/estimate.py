"""Foretell what an experiment costs: runs, hours, and disk.

Examples:
  python -m benchmark estimate --config config/fashion.yaml
  python -m benchmark estimate --config config/paper.yaml --device cuda --jobs 8
  python -m benchmark estimate --config config/paper.yaml --device cuda --images-per-second cifar10/resnet20=20000

Every method is timed for a few steps on this machine, on noise of each dataset's shape, so nothing need be downloaded.
A CPU is timed by the processor time of one thread, which is what the pipeline gives a run: other load hardly shows.
With --images-per-second, what one method trains at on the device in mind, nothing is timed: the others are foretold
from it in proportion to their MACs, which flatters methods that are made of many small operations.
"""

import argparse
import heapq
import os
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from baselines import find_method
from benchmark.commands.arguments import chosen_device
from benchmark.errors import UserError
from benchmark.evaluation.estimate import estimate
from benchmark.experiment import configuration
from benchmark.experiment.configuration import Configuration
from benchmark.training.gpu_slots import gpu_slot, visible_gpus
from benchmark.training.loop import warn_of_emulation


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which experiment, and on what it is to run."""
    parser.add_argument("--config", type=Path, required=True, help="the experiment's configuration")
    parser.add_argument("--data", type=Path, default=Path("data"), help="the folder of all data (default: data)")
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto takes a GPU if there is one (default)"
    )
    parser.add_argument("--jobs", type=int, help="runs at once (default: this machine's processors, or GPUs)")
    parser.add_argument(
        "--images-per-second", metavar="DATASET/METHOD=NUMBER", help="what this one trains at; nothing is timed then"
    )


def main(arguments: argparse.Namespace) -> None:
    """Print the estimate."""
    experiment = configuration.load(arguments.config)
    if arguments.jobs is not None and arguments.jobs < 1:
        raise UserError(f"--jobs {arguments.jobs}: give 1 or more.")
    find_method(experiment.method_kinds[experiment.reference])
    startup = 2 * time.process_time()  # the imports of a training and of an evaluation
    given = arguments.images_per_second
    # The device in mind is elsewhere if its speed is given; MACs are metered on any.
    with gpu_slot("cpu" if given else arguments.device):
        device = chosen_device("cpu" if given else arguments.device)
        if not given:
            warn_of_emulation({run.recipe.precision for run in experiment.runs()}, device)
        table = estimate(experiment, arguments.data, device, given, startup)
    cuda = device.type == "cuda" or arguments.device == "cuda"
    jobs = arguments.jobs or (len(visible_gpus()) if cuda else os.cpu_count()) or 1
    show(experiment, table, jobs, "GPU" if cuda else "CPU")


def show(experiment: Configuration, table: pd.DataFrame, jobs: int, processor: str) -> None:
    """Print the table and its sums."""
    columns = {
        "training_images_per_second": "training images/s",
        "evaluation_images_per_second": "evaluation images/s",
        "hours_per_run": "hours a run",
        "hours": f"{processor}-hours",
    }
    shown = table[["dataset", "method", "runs", *columns]].rename(columns=columns)
    print(shown.to_string(index=False, float_format=lambda value: f"{value:,.0f}" if value >= 100 else f"{value:.3g}"))
    wall = wall_time(table["hours_per_run"].repeat(table["runs"]).tolist(), jobs)
    prepared = table.groupby("dataset")["data_bytes"].first().sum()
    results = table[["record_bytes", "model_bytes"]].sum().sum()
    print(
        f"\n{experiment.experiment}: {table['runs'].sum()} runs, {table['hours'].sum():.3g} {processor}-hours; "
        f"{wall:.3g} hours with {jobs} at once\n"
        f"disk: {prepared / 1e9:.2g} GB of prepared data, {results / 1e9:.2g} GB of results"
    )


def wall_time(durations: Sequence[float], jobs: int) -> float:
    """How long runs take that start in this order, each as soon as one of `jobs` places is free."""
    free = [0.0] * jobs
    for duration in durations:
        heapq.heapreplace(free, free[0] + duration)
    return max(free)
