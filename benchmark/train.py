"""Train one run of an experiment, or go on with it.

Examples:
  python -m benchmark train --config config/quick.yaml --dataset digits --method resnet8 --seed 0
  python -m benchmark train --config config/dials.yaml --dataset maze --method act --seed 2 --device cuda
  torchrun --nproc-per-node 2 -m benchmark train --config config/quick.yaml --dataset digits --method resnet8 --seed 0

Stopped by SIGTERM or SIGUSR1 it writes a checkpoint and exits with status 75; killed outright it has lost at most an
epoch.  Either way the same command goes on.  A run that is already trained is left as it is.
"""

import argparse
import csv
import time
from pathlib import Path

from torch import nn

from benchmark import checkpoint, distributed, provenance
from benchmark.arguments import add_run_arguments, named_run, prepared
from benchmark.attempt import attempt
from benchmark.configuration import Run
from benchmark.files import atomic_write
from benchmark.gpu_slots import gpu_slot
from benchmark.stopping import StopRequest
from benchmark.training import Progress, train, warn_of_emulation

#: What a training leaves, and what is made from that.
RESULTS = ("model.safetensors", "history.csv", "records.parquet", "costs.json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which run, and where."""
    add_run_arguments(parser)
    parser.add_argument("--restart", action="store_true", help="forget what there is and train from the beginning")


def main(arguments: argparse.Namespace) -> None:
    """Train the run and write its history, run.json and model."""
    run = named_run(arguments)
    folder = run.folder(arguments.results)
    leads = distributed.rank() == 0
    distributed.require_gpu_each(arguments.device)

    def report(line: str) -> None:
        if leads:
            print(f"{run}: {line}", flush=True)

    with attempt(run, folder, leads):
        if not arguments.restart and is_trained(run, folder):
            report("already trained")
            return
        with gpu_slot(arguments.device):
            _, dataset, device = prepared(arguments)
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


def finish(run: Run, folder: Path, model: nn.Module, progress: Progress) -> None:
    """Write what a training leaves; the model last: where it stands, all the rest does."""
    write_history(folder / "history.csv", progress)
    provenance.update(
        folder, run, status="trained", training_seconds=round(progress.seconds, 1),
        training_joules=round(sum(progress.joules.values()), 1) if progress.joules else None,
        joules_by_device=progress.joules, training_macs=progress.macs, preemptions=progress.preemptions,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
    )  # fmt: skip
    checkpoint.save_weights(folder / "model.safetensors", run, model.state_dict())
    (folder / "checkpoint.pt").unlink(missing_ok=True)  # three times the model's size, and of no more use


def is_trained(run: Run, folder: Path) -> bool:
    """Whether the model in `folder` is this run's, and run.json tells how it was made.

    Raises:
        UserError: the model is damaged.
    """
    ours = checkpoint.weights_digest(folder / "model.safetensors") == run.digest
    told = provenance.read(folder)
    return ours and told.get("digest") == run.digest and "training_seconds" in told


def clear(folder: Path, restart: bool) -> None:
    """Remove what an earlier training left, so that results are this one's or absent."""
    for name in (*RESULTS, *(("checkpoint.pt", "run.json") if restart else ())):
        (folder / name).unlink(missing_ok=True)


def write_history(path: Path, progress: Progress) -> None:
    """One row an epoch; a metric that only some epochs have is empty in the others."""
    columns = list(dict.fromkeys(name for row in progress.history for name in row))
    with atomic_write(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(progress.history)
