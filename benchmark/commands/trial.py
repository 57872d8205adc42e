"""Train one trial of tuning, or resume it, and record its curve on the validation split.

Examples:
  python -m benchmark trial --config config/quick.yaml --dataset maze --method act --trial 3

Trial 0 is the configuration without tuned settings; the others draw theirs from the method's search space. A trial is
trained like any run, with a seed that the experiment does not use; the test split is not read. A trial that diverges is
a result, too: it is never chosen. A finished trial is left as it is. Then see `python -m benchmark tune`.
"""

import argparse

from benchmark.commands.arguments import add_grid_arguments, prepared
from benchmark.commands.evaluate import USE_LESS_MEMORY
from benchmark.commands.train import add_restart_argument, train_run
from benchmark.evaluation.recording import evaluate_on_validation, load_trained
from benchmark.experiment import configuration, provenance
from benchmark.experiment.attempt import attempt
from benchmark.training import distributed
from benchmark.training.gpu_slots import gpu_slot
from benchmark.training.loop import Diverged
from benchmark.tuning import points
from benchmark.tuning.trials import Trial, trial


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which trial, and where."""
    add_grid_arguments(parser)
    parser.add_argument("--trial", type=int, required=True, help="its number; 0 is the configuration as it stands")
    add_restart_argument(parser)


def main(arguments: argparse.Namespace) -> None:
    """Train the trial, evaluate it on the validation split and write its operating points."""
    experiment = configuration.load(arguments.config, tuned=False)
    one = trial(experiment, arguments.dataset, arguments.method, arguments.trial)
    if not arguments.restart and points.read(one, arguments.results) is not None:
        print(f"{one}: already finished")
        return
    try:
        train_run(one, arguments)
    except Diverged as error:
        print(f"{one}: {error}")
        made_by = {"code": provenance.code(), "versions": provenance.versions()}
        points.write(one, arguments.results, None, made_by)
        return
    if distributed.rank() == 0:
        evaluate(one, arguments)


def evaluate(one: Trial, arguments: argparse.Namespace) -> None:
    """Write the trained trial's operating points on the validation split."""
    folder = one.folder(arguments.results)
    with attempt(one, folder, USE_LESS_MEMORY), gpu_slot(arguments.device):
        dataset, device = prepared(one, arguments)
        model = load_trained(one, dataset, folder, device)
        found = points.of_records(evaluate_on_validation(model, dataset, device))
        points.write(one, arguments.results, found, provenance.environment(device))
        provenance.update(folder, one, status="evaluated", error=None)
    print(f"{one}: {100 * max(found.accuracy):.2f}% validation accuracy, the best of {len(found.accuracy)} points")
