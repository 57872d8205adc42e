"""Arguments that several verbs share, and what they stand for."""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.errors import UserError
from benchmark.experiment import configuration

if TYPE_CHECKING:
    import torch

    from benchmark.data import Dataset


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that name one run, its folders and its device."""
    add_grid_arguments(parser)
    parser.add_argument("--seed", type=int, required=True, help="one of the configuration's seeds")


def add_grid_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that name a dataset and a method of an experiment, the folders and the device."""
    parser.add_argument(
        "--config", type=Path, required=True, help="the experiment's configuration, such as config/quick.yaml"
    )
    parser.add_argument("--dataset", required=True, help="a dataset's label in the configuration")
    parser.add_argument("--method", required=True, help="a method's label in the configuration")
    parser.add_argument(
        "--results", type=Path, default=Path("results"), help="the folder of all results (default: results)"
    )
    parser.add_argument("--data", type=Path, default=Path("data"), help="the folder of all data (default: data)")
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="auto uses a GPU if there is one (default)",
    )
    add_threads_argument(parser)


def add_threads_argument(parser: argparse.ArgumentParser) -> None:
    """The argument that says how many threads compute."""
    parser.add_argument(
        "--threads",
        type=positive,
        default=1,
        metavar="N",
        help="CPU threads to compute with (default: 1, which is fastest for small networks and on a busy machine; use "
        "more for large networks on an idle one)",
    )


def positive(text: str) -> int:
    """A whole number of 1 or more, as an argument's type."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number


def compute_with(threads: int) -> None:
    """Let torch compute with so many CPU threads, whatever the environment says."""
    import torch

    torch.set_num_threads(threads)


def named_run(arguments: argparse.Namespace) -> configuration.Run:
    """The run that the arguments name.

    Raises:
        UserError: the configuration has a mistake, or no such run.
    """
    return configuration.load(arguments.config).run(arguments.dataset, arguments.method, arguments.seed)


def prepared(run: configuration.Run, arguments: argparse.Namespace) -> "tuple[Dataset, torch.device]":
    """The run's dataset, as far as the run may see it, and the device that the arguments name.

    Raises:
        UserError: the data or the device is not as it should be.
    """
    from benchmark import data

    compute_with(arguments.threads)
    device = chosen_device(arguments.device)
    data.prepare(run.dataset_kind, run.dataset_parameters, arguments.data)
    dataset = data.load(run.dataset_kind, run.dataset_parameters, arguments.data)
    return dataset if run.sees_test else dataset.without_test(), device


def chosen_device(name: str) -> "torch.device":
    """The device for ``--device name``; to be asked while holding a GPU slot, since CUDA looks once what it may see.

    Raises:
        UserError: a GPU was asked for, and torch can use none.
    """
    import torch

    if name != "cpu" and torch.cuda.is_available():
        return torch.device("cuda")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    trouble = (
        "torch finds no GPU that it can use"
        + ("" if visible is None else f" (CUDA_VISIBLE_DEVICES={visible})")
        + ("" if torch.version.cuda else "; it is built without CUDA")
    )
    if name == "cuda":
        raise UserError(f"--device cuda: {trouble}. Use --device cpu, or look at nvidia-smi and the driver's version.")
    if name == "auto" and visible:
        print(f"warning: {trouble}, so the CPU is used; --device cuda makes this an error", file=sys.stderr)
    return torch.device("cpu")
