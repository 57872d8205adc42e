"""What is out of date, decided from what is on disk.

Snakemake's own notes (`.snakemake`) are lost when it is cleaned or the results move, so no rule depends on them.  Marks
carry what they stand for in their names: when that changes, a mark of the new name is missing, and its rule runs.
"""

import hashlib
import json

from benchmark.experiment import provenance

# What reports are made by and of; a change of any of it redraws them.
REPORTING_SOURCES = (
    "config/claims.yaml",
    "benchmark/analysis",
    "benchmark/figures",
    "benchmark/report",
    "benchmark/tuning",
    "benchmark/evaluation/records.py",
    "benchmark/evaluation/decisions.py",
    "benchmark/evaluation/measurements.py",
    *(f"benchmark/commands/{verb}.py" for verb in ("summary", "tables", "verdicts", "figure", "report", "explorer")),
)


def hash_of(value) -> str:
    """A short hash of plain values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def source_hashes() -> dict[str, str]:
    """A hash of every source file that reports are made by."""
    root = Path(workflow.basedir)
    hashes = {}
    for name in REPORTING_SOURCES:
        for file in (root / name).rglob("*") if (root / name).is_dir() else [root / name]:
            if file.is_file() and "__pycache__" not in file.parts:
                hashes[str(file.relative_to(root))] = hashlib.sha256(file.read_bytes()).hexdigest()
    return hashes


def reporting_mark() -> str:
    """The mark of reports made by this code, of this grid; of a partial one, of the records that exist now."""
    seed = configuration.seeds[0]
    grid = [
        (dataset, method, configuration.run(dataset, method, seed).digest)
        for dataset in configuration.datasets
        for method in configuration.methods
    ]
    existing = records(None) if PARTIAL else None
    # Also whether mixed runs are refused: a summary that was made without asking must be made again.
    asked = [configuration.seeds, configuration.reference, configuration.latency, STRICT]
    tuned = None if configuration.tuned is None else configuration.tuned.content.model_dump(mode="json")
    state = [source_hashes(), grid, asked, tuned, existing]
    return f"{EXPERIMENT}/logs/reporting-{hash_of(state)}"


REPORTING = reporting_mark()


def prepared_mark(wildcards) -> str:
    """The mark of a run's dataset with its present parameters, in the present data folder."""
    run = trial_of(wildcards) if hasattr(wildcards, "number") else run_of(wildcards)
    return f"{PREPARED}/{run.dataset}-{hash_of(run.resolved()['dataset'])}.ready"


def is_changed(run) -> bool:
    """Whether the trained run on disk is another one than the configuration describes, or has lost its history."""
    folder = run.folder(Path(RESULTS))
    is_whole = (folder / "history.csv").exists() and run.is_described_by(provenance.read(folder))
    return (folder / "trained").exists() and not is_whole


def changed_mark(wildcards) -> list[str]:
    """What makes a training run again although its output is there."""
    run = run_of(wildcards)
    return [f"{run.folder(Path(RESULTS))}/changed"] if is_changed(run) else []


def changed_marks(wildcards) -> list[str]:
    """Those of the whole grid.  They are targets, since Snakemake does not miss what stands between two existing files."""
    return (
        [] if PARTIAL else [f"{run.folder(Path(RESULTS))}/changed" for run in configuration.runs() if is_changed(run)]
    )


def forget_older_reports() -> None:
    """Remove the marks of reports made by other code: if that code comes back, its reports have to be made again."""
    if workflow.is_main_process and not Path(REPORTING).exists():
        for mark in Path(f"{EXPERIMENT}/logs").glob("reporting-*"):
            mark.unlink()


def forget_forced_trainings() -> None:
    """Remove the runs whose training was asked for (`--forcerun`), or they would be found trained already."""
    trainings = [job for job in workflow.dag.needrun_jobs() if job.rule.name == "train"]
    forced = [run_of(job.wildcards) for job in trainings if workflow.dag.reason(job).forced]
    if forced and workflow.is_main_process:  # a job on a cluster's node is always "forced", each time it is tried
        from benchmark.training.results import clear  # imports torch

        for run in forced:
            clear(run.folder(Path(RESULTS)), restart=True)
