"""Check that every method of an experiment works on a dataset, before days are spent on training.

Examples:
  python -m benchmark check --config config/quick.yaml --dataset digits

The configuration's keys and types are checked whenever it is read.  What only the classes themselves know (parameters
that do not go together, images too small for a network) shows when each method is built, counted, and taken through one
loss of each of its phases on two samples; that is done here, on the CPU, with the parameters and the recipe that each
method has on the dataset.
"""

import argparse
from pathlib import Path

import torch

from benchmark import data
from benchmark.commands.arguments import add_threads_argument, compute_with
from benchmark.data import Dataset
from benchmark.errors import UserError
from benchmark.experiment import configuration
from benchmark.experiment.configuration import Run
from benchmark.training.augmentation import Augmentation, normalise
from benchmark.training.building import build_model
from dynalay.classifier import TrainingState
from dynalay.meter import Meter


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which experiment and dataset."""
    parser.add_argument("--config", type=Path, required=True, help="the experiment's configuration")
    parser.add_argument("--dataset", required=True, help="a dataset's label in the configuration")
    parser.add_argument("--data", type=Path, default=Path("data"), help="the folder of all data (default: data)")
    add_threads_argument(parser)


def main(arguments: argparse.Namespace) -> None:
    """Check all methods, and report all that do not work."""
    experiment = configuration.load(arguments.config)
    compute_with(arguments.threads)
    kind, parameters = experiment.dataset(arguments.dataset)
    data.prepare(kind, parameters, arguments.data)
    dataset = data.load(kind, parameters, arguments.data)
    mistakes = []
    for method in experiment.methods:
        try:
            check(experiment.run(arguments.dataset, method, experiment.seeds[0]), dataset)
        except Exception as error:  # methods are anyone's code, and the others are to be looked at all the same
            message = str(error) if isinstance(error, UserError) else f"{method}: {type(error).__name__}: {error}"
            mistakes.append(f"  {message}")
    if mistakes:
        raise UserError(
            f"{arguments.config}: on {arguments.dataset}, images {dataset.image_shape}, these methods do not work:\n"
            + "\n".join(mistakes)
        )
    print(f"{arguments.dataset}: all {len(experiment.methods)} methods work on images {dataset.image_shape}")


def check(run: Run, dataset: Dataset) -> None:
    """Build the run's model, count its components, and compute a loss and its gradient in each phase.

    Raises:
        Exception: whatever the method or the augmentation has to say.
    """
    device = torch.device("cpu")
    model = build_model(run, dataset, device)
    samples = min(2, run.recipe.batch_size)
    generator = torch.Generator().manual_seed(0)
    images = Augmentation(**run.recipe.augmentation.model_dump())(dataset.train.images[:samples], generator)
    inputs = normalise(images, dataset.mean, dataset.std)
    model.component_macs()
    model.train()
    for phase in model.phases:
        meter = Meter(model.components(), samples, device)
        state = TrainingState(0.0, generator, phase.name)
        model.training_loss(inputs, dataset.train.labels[:samples], meter, state)[0].backward()
