"""Check methods and datasets before spending days on training.

Examples:
  python -m benchmark check --config config/quick.yaml --dataset digits
  python -m benchmark check --kind somebodys.package:Method

With --config, every method of the experiment is built, its compute is counted, and the loss of each training phase is
computed on two samples of a dataset, on the CPU, with the configured parameters and recipe.  This catches what reading
the configuration cannot: incompatible parameters, or images too small for a network.

With --kind, a method or a kind of dataset is tested against the contract that the harness relies on, whether it belongs
to the suite or not, with its default parameters.  A method is trained for a few steps, which takes about a minute.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmark import data
from benchmark.commands.arguments import add_threads_argument, compute_with
from benchmark.data import Dataset
from benchmark.errors import UserError
from benchmark.experiment import configuration, kinds
from benchmark.experiment.runs import Run
from benchmark.training.augmentation import Augmentation, normalise
from benchmark.training.building import build_model
from dynalay.classifier import TrainingState
from dynalay.meter import Meter


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """An experiment and a dataset, or a kind."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--config", type=Path, help="an experiment's configuration")
    what.add_argument("--kind", help="a method or a kind of dataset, as configurations name it")
    parser.add_argument("--dataset", help="with --config: a dataset's label in the configuration")
    parser.add_argument("--data", type=Path, default=Path("data"), help="the folder of all data (default: data)")
    add_threads_argument(parser)


def main(arguments: argparse.Namespace) -> None:
    """Check, and report all that does not work."""
    compute_with(arguments.threads)
    if arguments.kind is not None:
        check_contract(arguments.kind)
    elif arguments.dataset is None:
        raise UserError("--config needs --dataset, a dataset's label in the configuration.")
    else:
        check_experiment(arguments.config, arguments.dataset, arguments.data)


def check_contract(name: str) -> None:
    """Test a method or a kind of dataset against its contract; one line for each check.

    Raises:
        UserError: there is no such kind, or it breaks the contract.
    """
    broken = 0
    for statement, failure in _checks(name):
        print(f"ok    {statement}" if failure is None else f"FAIL  {statement}\n      {failure}", flush=True)
        broken += failure is not None
    if broken:
        raise UserError(f"{name} breaks the contract in {broken} ways; benchmark/contract says what each check does.")
    print(f"{name} fulfils the contract")


def _checks(name: str) -> Iterator[tuple[str, str | None]]:
    """What each check states, and why it does not hold, if it does not."""
    from benchmark.contract import datasets, methods

    kind = kinds.find_either(name)
    with tempfile.TemporaryDirectory() as folder:
        if kind.sort == "method":
            method = methods.Method(kind)
            todo = [(check.__name__, lambda check=check: check(method)) for check in methods.CHECKS]
        else:
            dataset = datasets.DatasetKind(kind, Path(folder))
            todo = [(check.__name__, lambda check=check: check(dataset)) for check in datasets.CHECKS]
        for check, run in todo:
            try:
                run()
            except Exception as error:  # a kind is anyone's code
                where = f"benchmark.contract.{kind.sort}s.{check}"
                yield check.replace("_", " "), f"{where}: {type(error).__name__}: {error}".rstrip(": ")
            else:
                yield check.replace("_", " "), None


def check_experiment(path: Path, label: str, folder: Path) -> None:
    """Check all methods of an experiment on a dataset.

    Raises:
        UserError: one message with all that do not work.
    """
    experiment = configuration.load(path)
    kind, parameters = experiment.dataset(label)
    data.prepare(kind, parameters, folder)
    dataset = data.load(kind, parameters, folder)
    mistakes = []
    for method in experiment.methods:
        try:
            check(experiment.run(label, method, experiment.seeds[0]), dataset)
        except Exception as error:  # methods are anyone's code, and the others are to be looked at all the same
            message = str(error) if isinstance(error, UserError) else f"{method}: {type(error).__name__}: {error}"
            mistakes.append(f"  {message}")
    if mistakes:
        raise UserError(
            f"{path}: on {label}, images {dataset.image_shape}, these methods do not work:\n" + "\n".join(mistakes)
        )
    print(f"{label}: all {len(experiment.methods)} methods work on images {dataset.image_shape}")


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
