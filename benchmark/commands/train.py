"""Train one run of an experiment, or resume it.

Examples:
  python -m benchmark train --config config/quick.yaml --dataset digits --method resnet8 --seed 0
  python -m benchmark train --config config/dials.yaml --dataset maze --method act --seed 2 --device cuda
  torchrun --nproc-per-node 2 -m benchmark train --config config/quick.yaml --dataset digits --method resnet8 --seed 0

On SIGTERM or SIGUSR1 it writes a checkpoint and exits with status 75; if killed outright, it loses at most an epoch.
Either way, the same command resumes it, with the number of threads with which it began, on which the last bits of the
result depend. A run that is already trained is left as it is.
"""

import argparse
import time

from benchmark.commands.arguments import add_run_arguments, named_run, prepared
from benchmark.experiment import provenance
from benchmark.experiment.attempt import attempt
from benchmark.experiment.configuration import Run
from benchmark.training import distributed
from benchmark.training.gpu_slots import gpu_slot
from benchmark.training.loop import train
from benchmark.training.precision import warn_of_emulation
from benchmark.training.results import clear, drop_checkpoint, finish, is_trained
from benchmark.training.stopping import StopRequest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which run, and where."""
    add_run_arguments(parser)
    add_restart_argument(parser)


def add_restart_argument(parser: argparse.ArgumentParser) -> None:
    """The argument by which earlier results are discarded."""
    parser.add_argument("--restart", action="store_true", help="discard earlier results and train from the beginning")


def main(arguments: argparse.Namespace) -> None:
    """Train the run and write its history, run.json and model."""
    train_run(named_run(arguments), arguments)


def train_run(run: Run, arguments: argparse.Namespace) -> None:
    """Train any run, with the folders and the device of the arguments.

    Raises:
        UserError, Preempted: see `benchmark.training.loop.train`.
    """
    folder = run.folder(arguments.results)
    leads = distributed.rank() == 0
    distributed.require_gpu_each(arguments.device)

    def report(line: str) -> None:
        if leads:
            print(f"{run}: {line}", flush=True)

    with attempt(run, folder, f"lower batch_size (now {run.recipe.batch_size})", leads):
        if not arguments.restart and is_trained(run, folder):
            report("already trained")
            if leads:
                drop_checkpoint(folder)  # of a training that was killed between its model and this
            return
        with gpu_slot(arguments.device):
            dataset, device = prepared(run, arguments)
            with distributed.joined(device) as team:
                if leads:
                    clear(folder, arguments.restart)
                    provenance.warn_of_changes()
                    warn_of_emulation({run.recipe.precision}, device)
                    provenance.update(
                        folder, run, status="training", started=time.strftime("%Y-%m-%dT%H:%M:%S%z"), error=None,
                        data=dataset.fingerprint, processes=team.size, **provenance.environment(device),
                    )  # fmt: skip
                team.wait()
                stop = StopRequest().listen()
                try:
                    model, progress = train(run, dataset, folder, device, stop, report, team)
                finally:
                    stop.ignore()
        if leads:
            finish(run, folder, model, progress)
