"""Prepare a dataset: download or generate it once, check it, and lay it out for all runs to share.

Examples:
  python -m benchmark data --dataset cifar10 --data data
  python -m benchmark data --config config/quick.yaml --dataset maze

With --config, the dataset is one of the configuration's labels, with its parameters; without, it is a kind with its
defaults.  Files that already lie under the data folder in torchvision's layout are used as they are.  What has been
prepared before is compared with its checksums.
"""

import argparse
from pathlib import Path

from benchmark import configuration
from benchmark.data.kinds import all_kinds, find_kind
from benchmark.data.raw import RawDataset, RawSplit
from benchmark.data.store import Dataset, Split, load, prepare

__all__ = ["Dataset", "RawDataset", "RawSplit", "Split", "all_kinds", "find_kind", "load", "prepare"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which dataset, and where."""
    parser.add_argument("--dataset", required=True, help="a label of the configuration, or a kind such as cifar10")
    parser.add_argument("--config", type=Path, help="the configuration whose label it is")
    parser.add_argument("--data", type=Path, default=Path("data"), help="the folder of all data (default: data)")


def main(arguments: argparse.Namespace) -> None:
    """Prepare the dataset and say what it holds."""
    if arguments.config is None:
        kind, parameters = arguments.dataset, configuration.dataset_defaults(arguments.dataset)
    else:
        kind, parameters = configuration.load(arguments.config).dataset(arguments.dataset)
    folder = prepare(kind, parameters, arguments.data)
    dataset = load(kind, parameters, arguments.data, verify=True)
    sizes = ", ".join(f"{len(getattr(dataset, split).labels):,} {split}" for split in ("train", "validation", "test"))
    print(f"{arguments.dataset}: {len(dataset.classes)} classes, images {dataset.image_shape}, {sizes}; in {folder}")
