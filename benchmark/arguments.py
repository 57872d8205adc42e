"""Arguments that several verbs share, and what they stand for."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark import configuration
from benchmark.errors import UserError

if TYPE_CHECKING:
    import torch

    from benchmark.data import Dataset


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that name one run, its folders and its device."""
    parser.add_argument(
        "--config", type=Path, required=True, help="the experiment's configuration, such as config/quick.yaml"
    )
    parser.add_argument("--dataset", required=True, help="a dataset's label in the configuration")
    parser.add_argument("--method", required=True, help="a method's label in the configuration")
    parser.add_argument("--seed", type=int, required=True, help="one of the configuration's seeds")
    parser.add_argument(
        "--results", type=Path, default=Path("results"), help="the folder of all results (default: results)"
    )
    parser.add_argument("--data", type=Path, default=Path("data"), help="the folder of all data (default: data)")
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="auto takes a GPU where there is one (default)",
    )


def prepared(arguments: argparse.Namespace) -> "tuple[configuration.Run, Dataset, torch.device]":
    """The run that the arguments name, its dataset and its device."""
    import torch

    from benchmark import data

    run = configuration.load(arguments.config).run(arguments.dataset, arguments.method, arguments.seed)
    available = torch.cuda.is_available()
    if arguments.device == "cuda" and not available:
        raise UserError("--device cuda: torch finds no GPU here; use --device cpu, or look at nvidia-smi.")
    device = torch.device("cuda" if available and arguments.device != "cpu" else "cpu")
    data.prepare(run.dataset_kind, run.dataset_parameters, arguments.data)
    return run, data.load(run.dataset_kind, run.dataset_parameters, arguments.data), device
