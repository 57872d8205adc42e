"""Train one run of an experiment, or go on with it.

Examples:
  python -m benchmark train --config config/quick.yaml --dataset digits --method dynalay --seed 0
  python -m benchmark train --config config/dials.yaml --dataset maze --method act --seed 2 --device cuda

Stopped by SIGTERM or SIGUSR1 it writes a checkpoint and exits with status 75; killed outright it has lost at most an
epoch.  Either way the same command goes on.  A run that is already trained is left as it is.
"""

import argparse
import csv
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

from benchmark import provenance
from benchmark.arguments import add_run_arguments, prepared
from benchmark.errors import Preempted, UserError
from benchmark.files import atomic_write
from benchmark.gpu_slots import gpu_slot
from benchmark.stopping import StopRequest
from benchmark.training import Diverged, Progress, train


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which run, and where."""
    add_run_arguments(parser)
    parser.add_argument("--restart", action="store_true", help="forget a checkpoint and train from the beginning")


def main(arguments: argparse.Namespace) -> None:
    """Train the run and write its model, history and run.json."""
    stop = StopRequest().listen()
    with gpu_slot(arguments.device):
        run, dataset, device = prepared(arguments)
        folder = run.folder(arguments.results)
        trained = folder / "model.safetensors"
        if trained.exists() and provenance.read(folder).get("digest") == run.digest and not arguments.restart:
            print(f"{run}: already trained")
            return
        folder.mkdir(parents=True, exist_ok=True)
        if arguments.restart:
            (folder / "checkpoint.pt").unlink(missing_ok=True)
        provenance.update(
            folder, run, status="training", started=time.strftime("%Y-%m-%dT%H:%M:%S%z"), error=None,
            data=dataset.fingerprint, **provenance.environment(device),
        )  # fmt: skip
        try:
            model, progress = train(
                run, dataset, folder, device, stop, report=lambda line: print(f"{run}: {line}", flush=True)
            )
        except Preempted:
            provenance.update(folder, run, status="preempted")
            raise
        except Exception as error:
            provenance.update(folder, run, status="failed", error=f"{type(error).__name__}: {error}")
            if isinstance(error, Diverged):
                raise UserError(str(error)) from None
            if isinstance(error, torch.OutOfMemoryError):
                raise UserError(
                    f"{run} ran out of memory on {device} at batch_size {run.recipe.batch_size}; lower the recipe's batch_size, "
                    "or let fewer runs share a GPU (slots_per_gpu)."
                ) from None
            raise
    write_history(folder / "history.csv", progress)
    with atomic_write(trained) as temporary:
        save_file({name: value.cpu().contiguous() for name, value in model.state_dict().items()}, temporary)
    provenance.update(
        folder, run, status="trained", training_seconds=round(progress.seconds, 1), training_macs=progress.macs,
        preemptions=progress.preemptions, parameters=sum(parameter.numel() for parameter in model.parameters()),
    )  # fmt: skip
    (folder / "checkpoint.pt").unlink(
        missing_ok=True
    )  # the model is what remains; a checkpoint takes three times its space


def write_history(path: Path, progress: Progress) -> None:
    """One row an epoch; a metric that only some epochs have is empty in the others."""
    columns = list(dict.fromkeys(name for row in progress.history for name in row))
    with atomic_write(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(progress.history)
