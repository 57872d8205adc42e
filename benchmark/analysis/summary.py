"""The records of all runs, reduced to the small tables that everything else is made from.

Records are read one run at a time, so memory does not grow with the grid; a run that is missing, failed or damaged is a
row of `runs.parquet` that says so, and has no row elsewhere.
"""

import json
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.analysis.difficulty import graded_samples
from benchmark.analysis.reduction import reduced
from benchmark.evaluation import measurements
from benchmark.experiment.configuration import Configuration, Run
from benchmark.files import atomic_write

#: Each table's columns after dataset, method and seed.  `docs/statistics.md` explains them.
TABLES = (
    "runs",
    "curves",
    "difficulty",
    "groups",
    "executions",
    "actions",
    "notes",
    "correctness",
    "spending",
    "gallery",
    "history",
    "latency",
    "samples",
)
#: With fewer runs, starting processes would take longer than it saves.
MANY_RUNS = 100


def write(experiment: Configuration, results: Path, workers: int = 1) -> Path:
    """Summarise an experiment's runs; returns the folder of the summary."""
    states = [_state(run, results) for run in experiment.runs()]
    for label in experiment.datasets:
        _mark_other_data([state for state in states if state.run.dataset == label])
    done = [state for state in states if state.status == "done"]
    datasets = {
        label: graded_samples(
            [state.folder for state in done if state.run.dataset == label],
            [state.folder for state in done if state.run.dataset == label and state.run.method == experiment.reference],
        )
        for label in experiment.datasets
    }
    first_seeds = {(state.run.dataset, state.run.method): state.run.seed for state in reversed(done)}
    jobs = [
        (state.folder, datasets[state.run.dataset], state.run.seed == first_seeds[state.run.dataset, state.run.method])
        for state in done
    ]
    tables: dict[str, list[pd.DataFrame]] = {name: [] for name in TABLES}
    for state, outcome in zip(done, _mapped(jobs, workers), strict=True):
        if isinstance(outcome, str):
            state.status, state.error = "damaged", outcome
            continue
        for name, table in outcome.items():
            tables[name].append(_keyed(table, state.run))
        if len(timed := measurements.read(state.folder, "latency.csv")):
            tables["latency"].append(_keyed(timed, state.run))
    tables["runs"] = [pd.DataFrame([state.row(experiment.reference) for state in states])]
    tables["samples"] = [samples.assign(dataset=label) for label, samples in datasets.items() if samples is not None]
    folder = results / experiment.experiment / "summary"
    for name, parts in tables.items():
        table = (
            pd.concat(parts, ignore_index=True) if parts else pd.DataFrame({"dataset": [], "method": [], "seed": []})
        )
        with atomic_write(folder / f"{name}.parquet") as temporary:
            table.to_parquet(temporary, index=False, compression="zstd")
    return folder


def _mapped(jobs: Sequence[tuple[Any, ...]], workers: int) -> Iterator[dict[str, pd.DataFrame] | str]:
    """Each job's `reduced`, in order."""
    if workers == 1 or len(jobs) < MANY_RUNS:
        yield from map(reduced, jobs)
        return
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(reduced, jobs, chunksize=4)


@dataclass
class _State:
    """How far a run has come: done, missing, unfinished, stale (other configuration or data), failed or damaged."""

    run: Run
    folder: Path
    status: str
    error: str | None
    description: dict[str, Any]

    def row(self, reference: str) -> dict[str, Any]:
        """The run's row in `runs.parquet`."""
        description = self.description
        hardware = description.get("hardware") or {}
        evaluation = description.get("evaluation") or {}
        return {
            "dataset": self.run.dataset,
            "method": self.run.method,
            "seed": self.run.seed,
            "kind": self.run.method_kind,
            "reference": self.run.method == reference,
            "ground": str(self.run.ground),
            "status": self.status,
            "error": self.error,
            **{name: _number(description.get(name)) for name in COSTS},
            "versions": json.dumps(description.get("versions") or {}, sort_keys=True),
            "hardware": hardware.get("gpu") or hardware.get("processor"),
            "commit": (description.get("code") or {}).get("commit"),
            "dirty": any((part.get("code") or {}).get("dirty") for part in (description, evaluation)),
        }


#: The entries of run.json that say what a run cost.
COSTS = ("parameters", "training_macs", "training_seconds", "training_joules", "evaluation_seconds", "preemptions")


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _state(run: Run, results: Path) -> _State:
    folder = run.folder(results)
    try:
        description = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        if not isinstance(description, dict):
            raise ValueError("not a mapping")
    except FileNotFoundError:
        return _State(run, folder, "missing", None, {})
    except (OSError, ValueError) as error:
        return _State(run, folder, "damaged", f"run.json: {error}", {})
    if not run.is_described_by(description):
        return _State(run, folder, "stale", "run.json is of another configuration", {})
    if description.get("status") == "failed":
        return _State(run, folder, "failed", description.get("error"), description)
    if description.get("status") != "evaluated":
        return _State(run, folder, "unfinished", f"{description.get('status')}, not evaluated", description)
    return _State(run, folder, "done", None, description)


def _mark_other_data(states: list[_State]) -> None:
    """Runs on other data than the last one of their dataset was trained on, say before images were added, are stale."""
    known = [state for state in states if state.status == "done" and state.description.get("data")]
    current = max(known, key=lambda state: state.description.get("started") or "", default=None)
    for state in known:
        if current is not None and state.description["data"] != current.description["data"]:
            state.status, state.error = "stale", f"its data are not those of {current.run}, which was trained last"


def _keyed(table: pd.DataFrame, run: Run) -> pd.DataFrame:
    """The table with dataset, method and seed in front."""
    keys = pd.DataFrame({"dataset": run.dataset, "method": run.method, "seed": run.seed}, index=table.index)
    return pd.concat([keys, table], axis=1)
