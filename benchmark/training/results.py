"""What a training leaves in the run's folder: its history, its weights, and run.json."""

import contextlib
import csv
from pathlib import Path

from benchmark.experiment import provenance
from benchmark.experiment.configuration import Run
from benchmark.files import atomic_write
from benchmark.training import checkpoint
from benchmark.training.progress import Progress
from dynalay.classifier import AdaptiveClassifier
from dynalay.pretrained import CONFIG, PretrainedError

#: What a training leaves, what is made from that, and the pipeline's mark that there is such a training.
RESULTS = (
    "model.safetensors", CONFIG, "history.csv", "records.parquet", "decisions.parquet", "gains.csv", "costs.json",
    "latency.csv", "resources.csv", "trained",
)  # fmt: skip


def finish(run: Run, folder: Path, model: AdaptiveClassifier, progress: Progress) -> None:
    """Write what a training leaves; the model last, so that where it exists, all the rest does.

    With ``config.json`` beside it, the model's class builds it again by `from_pretrained`, where JSON can hold the
    parameters.
    """
    with contextlib.suppress(PretrainedError), atomic_write(folder / CONFIG) as temporary:
        temporary.write_text(model.construction())
    write_history(folder / "history.csv", progress)
    provenance.update(
        folder, run, status="trained", digest=run.digest, training_seconds=round(progress.seconds, 1),
        training_joules=round(sum(progress.joules.values()), 1) if progress.joules else None,
        joules_by_device=progress.joules, training_threads=progress.threads,
        training_macs=progress.macs, preemptions=progress.preemptions,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
    )  # fmt: skip
    checkpoint.save_weights(folder / "model.safetensors", run, model.state_dict())
    drop_checkpoint(folder)


def drop_checkpoint(folder: Path) -> None:
    """Remove the checkpoint of a finished training, which is three times the model's size and no longer needed."""
    (folder / "checkpoint.pt").unlink(missing_ok=True)


def is_trained(run: Run, folder: Path) -> bool:
    """Whether the model in `folder` is this run's, with its history, and run.json says how it was made.

    Raises:
        UserError: the model is damaged.
    """
    digest = checkpoint.weights_digest(folder / "model.safetensors")
    description = provenance.read(folder)
    is_whole = "training_seconds" in description and (folder / "history.csv").exists()
    return is_whole and provenance.owns(run, description, digest)


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
