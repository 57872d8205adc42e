"""Prepare a dataset: download or generate it once, check it, and store it for all runs to share.

Examples:
  python -m benchmark data --dataset cifar10 --data data
  python -m benchmark data --config config/quick.yaml --dataset maze
  python -m benchmark data --config config/paper.yaml

With --config, the dataset is one of the configuration's labels, with its parameters; without --dataset, all of them are
prepared. Without --config, the dataset is a kind with its defaults. Files that are already under the data folder, in
torchvision's layout, are used as they are. Datasets that were prepared before are checked against their checksums.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmark.data import load, prepare
from benchmark.errors import UserError
from benchmark.experiment import configuration


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The dataset, and the data folder."""
    parser.add_argument("--dataset", help="a label of the configuration (default: all), or a kind such as cifar10")
    parser.add_argument("--config", type=Path, help="the configuration that defines this label")
    parser.add_argument("--data", type=Path, default=Path("data"), help="the data folder (default: data)")


def main(arguments: argparse.Namespace) -> None:
    """Prepare each dataset and print what it holds; a failure does not stop the others."""
    mistakes = []
    for label, (kind, parameters) in _named(arguments).items():
        try:
            folder = prepare(kind, parameters, arguments.data)
            dataset = load(kind, parameters, arguments.data, verify=True)
        except UserError as error:
            mistakes.append(str(error))
            continue
        sizes = ", ".join(
            f"{len(getattr(dataset, split).labels):,} {split}" for split in ("train", "validation", "test")
        )
        print(f"{label}: {len(dataset.classes)} classes, images {dataset.image_shape}, {sizes}; in {folder}")
    if mistakes:
        raise UserError("\n".join(mistakes))


def _named(arguments: argparse.Namespace) -> dict[str, tuple[str, Mapping[str, Any]]]:
    """Kind and parameters of every dataset that the arguments name, by label."""
    if arguments.config is None:
        if arguments.dataset is None:
            raise UserError("Name a dataset (--dataset cifar10), a configuration with datasets (--config), or both.")
        return {arguments.dataset: (arguments.dataset, configuration.dataset_defaults(arguments.dataset))}
    experiment = configuration.load(arguments.config)
    labels = experiment.datasets if arguments.dataset is None else (arguments.dataset,)
    return {label: experiment.dataset(label) for label in labels}
