"""Estimate what an experiment costs: runs, hours and disk space.

Examples:
  python -m benchmark estimate --config config/fashion.yaml
  python -m benchmark estimate --config config/paper.yaml --device cuda --jobs 8
  python -m benchmark estimate --config config/paper.yaml --device cuda --images-per-second cifar10/resnet20=20000

Each method is timed for a few steps on this machine, on noise of each dataset's shape, so nothing is downloaded. On a
CPU, the processor time of one thread is measured, which is what the pipeline gives a run, so other load hardly matters.
With --images-per-second, the training speed of one method on the target device, nothing is timed: the other methods'
times are estimated in proportion to their MACs. That is too optimistic for methods made of many small operations.
"""

import argparse
import heapq
import os
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from benchmark.commands.arguments import add_threads_argument, chosen_device, compute_with
from benchmark.errors import UserError
from benchmark.evaluation.estimate import estimate
from benchmark.experiment import configuration, kinds
from benchmark.experiment.configuration import Configuration
from benchmark.training.gpu_slots import gpu_slot
from benchmark.training.gpus import visible_gpus
from benchmark.training.precision import warn_of_emulation


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The experiment, and the device that it will run on."""
    parser.add_argument("--config", type=Path, required=True, help="the experiment's configuration")
    parser.add_argument("--data", type=Path, default=Path("data"), help="the data folder (default: data)")
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto uses a GPU if there is one (default)"
    )
    parser.add_argument(
        "--jobs",
        type=int,
        help="runs at once (default: as many as the processors, by --threads each, or the GPUs allow)",
    )
    add_threads_argument(parser)
    parser.add_argument(
        "--images-per-second",
        metavar="DATASET/METHOD=NUMBER",
        help="training speed of one method; nothing is timed then",
    )


def main(arguments: argparse.Namespace) -> None:
    """Print the estimate."""
    experiment = configuration.load(arguments.config)
    if arguments.jobs is not None and arguments.jobs < 1:
        raise UserError(f"--jobs {arguments.jobs}: give 1 or more.")
    compute_with(arguments.threads)
    kinds.find("method", experiment.method_kinds[experiment.reference]).load()
    startup = 2 * time.process_time()  # the imports of a training and of an evaluation
    given = arguments.images_per_second
    # Where a speed is given, the target device is elsewhere; MACs are metered on any device.
    with gpu_slot("cpu" if given else arguments.device):
        device = chosen_device("cpu" if given else arguments.device)
        if not given:
            warn_of_emulation({run.recipe.precision for run in experiment.runs()}, device)
        table = estimate(experiment, arguments.data, device, given, startup)
    cuda = device.type == "cuda" or arguments.device == "cuda"
    jobs = arguments.jobs or (len(visible_gpus()) if cuda else (os.cpu_count() or 1) // arguments.threads) or 1
    show(experiment, table, jobs, "GPU" if cuda else "CPU")


def show(experiment: Configuration, table: pd.DataFrame, jobs: int, processor: str) -> None:
    """Print the table and its totals."""
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
    """How long all runs take if they start in this order, each as soon as one of `jobs` slots is free."""
    free = [0.0] * jobs
    for duration in durations:
        heapq.heapreplace(free, free[0] + duration)
    return max(free)
