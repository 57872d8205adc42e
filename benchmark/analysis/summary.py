"""The records of all runs, reduced to the small tables from which everything else is made.

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

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy import stats

from benchmark.analysis.outcomes import middle_point
from benchmark.evaluation import records
from benchmark.experiment.configuration import Configuration, Run
from benchmark.files import atomic_write

#: Each table's columns after dataset, method and seed.  `docs/statistics.md` explains them.
TABLES = (
    "runs",
    "curves",
    "difficulty",
    "executions",
    "actions",
    "notes",
    "correctness",
    "gallery",
    "history",
    "samples",
)
#: Samples are binned by their rank in difficulty, which every third holds a whole number of.
BINS = 9
#: Equal-width bins of confidence for the expected calibration error (Guo et al. 2017).
CALIBRATION_BINS = 15
QUANTILES = {"macs_q10": 0.1, "macs_q25": 0.25, "macs_q50": 0.5, "macs_q75": 0.75, "macs_q90": 0.9}
#: Samples of a run shown in the gallery, for the least and for the most compute.
SHOWN = 8
#: With fewer runs, starting processes would take longer than it saves.
MANY_RUNS = 100


def write(experiment: Configuration, results: Path, workers: int = 1) -> Path:
    """Summarise an experiment's runs; returns the folder of the summary."""
    states = [_state(run, results) for run in experiment.runs()]
    done = [state for state in states if state.status == "done"]
    datasets = {
        label: _test_samples([state for state in done if state.run.dataset == label], experiment.reference)
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
    """What `_summarised` says of each job, in order."""
    if workers == 1 or len(jobs) < MANY_RUNS:
        yield from map(_summarised, jobs)
        return
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(_summarised, jobs, chunksize=4)


@dataclass
class _State:
    """How far a run has come: done, missing, unfinished, stale (of another configuration), failed or damaged."""

    run: Run
    folder: Path
    status: str
    error: str | None
    description: dict[str, Any]

    def row(self, reference: str) -> dict[str, Any]:
        """The run's row in `runs.parquet`."""
        description = self.description
        hardware = description.get("hardware") or {}
        return {
            "dataset": self.run.dataset,
            "method": self.run.method,
            "seed": self.run.seed,
            "kind": self.run.method_kind,
            "reference": self.run.method == reference,
            "status": self.status,
            "error": self.error,
            **{name: _number(description.get(name)) for name in COSTS},
            "hardware": hardware.get("gpu") or hardware.get("processor"),
            "commit": (description.get("code") or {}).get("commit"),
            "dirty": (description.get("code") or {}).get("dirty"),
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


def _keyed(table: pd.DataFrame, run: Run) -> pd.DataFrame:
    """The table with dataset, method and seed in front."""
    keys = pd.DataFrame({"dataset": run.dataset, "method": run.method, "seed": run.seed}, index=table.index)
    return pd.concat([keys, table], axis=1)


def _test_samples(done: list[_State], reference: str) -> pd.DataFrame | None:
    """The test samples of a dataset with their difficulty, as its runs' records tell them; None if no run does.

    Where the dataset has no dial, a sample is as hard as the reference network finds it: (1 - m) / 2, where m is the
    mean over seeds of the confidence in a right prediction, or minus that in a wrong one.
    """
    of_reference = [state for state in done if state.run.method == reference]
    seen = [samples for state in of_reference or done[:1] if (samples := _judged(state.folder)) is not None]
    if not seen:
        return None
    samples = seen[0].rename(columns={"difficulty": "dial"})
    if samples["dial"].notna().any():
        samples = samples.assign(difficulty=samples["dial"], dial="difficulty")
    elif of_reference:
        margin = np.mean([judged["margin"] for judged in seen if len(judged) == len(samples)], axis=0)
        samples = samples.assign(difficulty=(1 - margin) / 2, dial="doubt of the reference")
    else:
        samples = samples.assign(difficulty=np.nan, dial=None)
    rank = samples["difficulty"].rank(method="average")
    # Equal samples share the middle of their ranks, and so a bin.
    share = (rank - 0.5) / rank.count()
    bins = np.floor(BINS * share).fillna(-1).astype("int8")
    return samples.assign(bin=bins)[["sample", "label", "difficulty", "dial", "bin"]]


def _judged(folder: Path) -> pd.DataFrame | None:
    """The test samples of a run: label, difficulty, and the run's margin at its dearest operating point of its own."""
    needed = ["split", "policy", "operating_point", "sample", "label", "prediction", "difficulty", "confidence", "macs"]
    try:
        table = records.read(folder / "records.parquet", needed)
    except (OSError, pa.ArrowException):
        return None
    table = table[(table["split"] == "test") & (table["policy"] == "own")]
    dearest = table.groupby("operating_point", observed=True)["macs"].mean().idxmax()
    table = table[table["operating_point"] == dearest].sort_values("sample", ignore_index=True)
    right = table["prediction"] == table["label"]
    margin = table["confidence"].where(right, -table["confidence"])
    return table[["sample", "label", "difficulty"]].assign(margin=margin)


def _summarised(job: tuple[Path, pd.DataFrame | None, bool]) -> dict[str, pd.DataFrame] | str:
    """The tables of one run, or what is wrong with its files."""
    folder, samples, gallery = job
    try:
        table = records.read(folder / "records.parquet")
        records.check(table)
        costs = json.loads((folder / "costs.json").read_text())
        splits = {split: _Grid(table, split) for split in ("validation", "test")}
        test = splits["test"]
        if samples is None or not np.array_equal(test.of_sample("label"), samples["label"]):
            return "its test samples are not those of the other runs"
        tables = {
            "curves": pd.concat(
                [
                    _curve(grid, samples if split == "test" else None).assign(split=split)
                    for split, grid in splits.items()
                ],
                ignore_index=True,
            ),
            "difficulty": _by_difficulty(test, samples),
            "executions": _executions(test, {name: cost["macs"] for name, cost in costs.items()}),
            "actions": _actions(test),
            "notes": _notes(test),
            "correctness": test.by_point(
                samples=test.samples, correct=[row.tobytes() for row in np.packbits(test.correct, axis=1)]
            ),
            "history": pd.read_csv(folder / "history.csv"),
        }
        if gallery:
            tables["gallery"] = _gallery(test, _middle(splits["validation"]))
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        return f"{type(error).__name__}: {error}"
    return tables


class _Grid:
    """The records of one split as arrays [points, samples], whatever the order of the rows.

    Attributes:
        policy, operating_point, knob: of each operating point, [points].
        samples: their number.
        correct: whether the prediction is right, bool [points, samples].
    """

    def __init__(self, table: pd.DataFrame, split: str) -> None:
        self._table = table
        rows = np.flatnonzero(table["split"] == split)
        code, names = pd.factorize(table["operating_point"].iloc[rows])
        sample = table["sample"].to_numpy()[rows]
        self.samples = int(sample.max()) + 1
        self._rows: np.ndarray | slice = np.empty_like(rows)
        self._rows[code * self.samples + sample] = rows
        first = self._rows[:: self.samples]
        self.operating_point = np.asarray(names, object)
        self.policy = np.asarray(table["policy"].iloc[first], object)
        self.knob = table["knob"].to_numpy()[first]
        if (np.diff(self._rows) == 1).all():  # as an evaluation writes them: nothing has to be copied
            self._rows = slice(self._rows[0], self._rows[-1] + 1)
        self.correct = self["prediction"] == self["label"]

    @property
    def columns(self) -> list[str]:
        return list(self._table.columns)

    def __getitem__(self, column: str) -> np.ndarray:
        """A column as an array [points, samples]."""
        return self._table[column].to_numpy()[self._rows].reshape(-1, self.samples)

    def of_sample(self, column: str) -> np.ndarray:
        """A column that is the same at all operating points, as an array [samples]."""
        return self[column][0]

    def by_point(self, **columns: Any) -> pd.DataFrame:
        """A table with one row an operating point; `columns` are [points] or scalars."""
        points = {"policy": self.policy, "operating_point": self.operating_point, "knob": self.knob}
        return pd.DataFrame(points | columns)

    def by_point_and(self, key: str, values: np.ndarray, **columns: np.ndarray) -> pd.DataFrame:
        """A table with one row an operating point and value of `key`; `columns` are [points, values] or [values]."""
        points = len(self.knob)
        table: dict[str, np.ndarray] = {
            name: np.repeat(getattr(self, name), len(values)) for name in ("policy", "operating_point", "knob")
        }
        table[key] = np.tile(values, points)
        return pd.DataFrame(
            table | {name: np.broadcast_to(array, (points, len(values))).ravel() for name, array in columns.items()}
        )


def _curve(grid: _Grid, samples: pd.DataFrame | None) -> pd.DataFrame:
    """Accuracy, compute and calibration at each operating point."""
    macs = grid["macs"]
    quantiles = np.quantile(macs, list(QUANTILES.values()), axis=1)
    return grid.by_point(
        samples=grid.samples,
        accuracy=grid.correct.mean(axis=1),
        confidence=grid["confidence"].mean(axis=1, dtype=float),
        ece=calibration_error(grid["confidence"], grid.correct),
        macs=macs.mean(axis=1),
        **dict(zip(QUANTILES, quantiles, strict=True)),
        difficulty_correlation=np.nan if samples is None else _rank_correlation(macs, samples["difficulty"].to_numpy()),
    )


def calibration_error(confidence: np.ndarray, correct: np.ndarray) -> np.ndarray:
    """The expected calibration error in `CALIBRATION_BINS` bins of equal width (Guo et al. 2017, eq. 5).

    Args:
        confidence: of each prediction, [points, samples].
        correct: whether it was right, [points, samples].

    Returns:
        [points]
    """
    points, samples = confidence.shape
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    places = (bins + CALIBRATION_BINS * np.arange(points)[:, None]).ravel()
    gap = np.bincount(places, (confidence - correct.astype(float)).ravel(), minlength=points * CALIBRATION_BINS)
    return np.abs(gap).reshape(points, -1).sum(axis=1) / samples


def _rank_correlation(macs: np.ndarray, difficulty: np.ndarray) -> np.ndarray:
    """Spearman's correlation of compute with difficulty at each operating point; 0 where compute does not vary."""
    known = np.isfinite(difficulty)
    if known.sum() < 2:
        return np.full(len(macs), np.nan)
    ranks = stats.rankdata(macs[:, known], axis=1)
    ranks -= ranks.mean(axis=1, keepdims=True)
    hardness = stats.rankdata(difficulty[known])
    hardness -= hardness.mean()
    scale = np.sqrt((ranks**2).sum(axis=1) * (hardness**2).sum())
    return np.divide(ranks @ hardness, scale, out=np.zeros(len(macs)), where=scale > 0)


def _by_difficulty(grid: _Grid, samples: pd.DataFrame) -> pd.DataFrame:
    """Accuracy and compute in each bin of difficulty at each operating point."""
    bins = samples["bin"].to_numpy()
    found = np.unique(bins[bins >= 0])
    members = (bins[:, None] == found).astype(float)  # [samples, found]
    counts = members.sum(axis=0)
    return grid.by_point_and(
        "bin",
        found,
        dial=np.array([samples["dial"].iloc[0]], object),
        difficulty=np.nan_to_num(samples["difficulty"].to_numpy(float)) @ members / counts,
        samples=counts.astype(int),
        accuracy=grid.correct @ members / counts,
        macs=grid["macs"] @ members / counts,
    )


def _executions(grid: _Grid, costs: dict[str, int]) -> pd.DataFrame:
    """How often each component ran for a sample, on average, at each operating point, and for which share it ran."""
    counts = [grid[f"{records.EXECUTIONS}{name}"] for name in costs]
    return grid.by_point_and(
        "component",
        np.array(list(costs), object),
        component_macs=np.array(list(costs.values())),
        executions=np.stack([count.mean(axis=1) for count in counts], axis=1),
        share=np.stack([(count > 0).mean(axis=1) for count in counts], axis=1),
    )


def _rounds(grid: _Grid) -> dict[int, np.ndarray]:
    """The action taken in each round, [points, samples]: 0 is the direct action, -1 that the sample had its answer."""
    prefix = f"{records.NOTE}action"
    numbers = sorted(int(name.removeprefix(prefix)) for name in grid.columns if name.removeprefix(prefix).isdigit())
    return {number: grid[f"{prefix}{number}"] for number in numbers}


def _actions(grid: _Grid) -> pd.DataFrame:
    """How many samples took each action in each round, at each operating point."""
    nothing = np.empty(0, int)
    parts = [grid.by_point_and("action", nothing, round=nothing, samples=nothing)]
    for number, taken in _rounds(grid).items():
        actions = np.arange(taken.max() + 1)
        counts = (taken[:, None] == actions[:, None]).sum(axis=2)
        parts.append(grid.by_point_and("action", actions, round=np.array([number]), samples=counts))
    table = pd.concat(parts[1:] or parts, ignore_index=True)
    return table[table["samples"] > 0]


def _notes(grid: _Grid) -> pd.DataFrame:
    """Mean of each note that is a measurement, at each operating point, over the samples that have it."""
    found = [(name, grid[name]) for name in grid.columns if name.startswith(records.NOTE)]
    notes = {name.removeprefix(records.NOTE): values for name, values in found if values.dtype.kind == "f"}
    known = {name: np.isfinite(values) for name, values in notes.items()}
    none = np.empty((len(grid.knob), 0), int)
    counts = np.stack([k.sum(axis=1) for k in known.values()], axis=1) if notes else none
    totals = [np.where(known[name], values, 0).sum(axis=1, dtype=float) for name, values in notes.items()]
    means = np.stack(totals, axis=1) / np.maximum(counts, 1) if notes else none
    table = grid.by_point_and("note", np.array(list(notes), object), samples=counts, mean=means)
    return table[table["samples"] > 0]


def _middle(grid: _Grid) -> str:
    """The operating point in the middle of the run's curve."""
    own = np.flatnonzero(grid.policy == "own")
    return str(grid.operating_point[own[middle_point(grid["macs"][own].mean(axis=1))]])


def _gallery(grid: _Grid, point: str) -> pd.DataFrame:
    """The samples on which the run spent least and most, at an operating point, with the path of actions.

    Among samples of equal compute, the surest predictions stand for the least of it, the least sure for the most.
    """
    middle = int(np.flatnonzero(grid.operating_point == point)[0])
    spent, confidence = grid["macs"][middle], grid["confidence"][middle]
    order = np.lexsort((-confidence, spent))
    actions = [taken[middle] for taken in _rounds(grid).values()]
    parts = []
    for extreme, chosen in (("least", order[:SHOWN]), ("most", order[::-1][:SHOWN])):
        part = pd.DataFrame(
            {"extreme": extreme, "sample": chosen, "macs": spent[chosen], "confidence": confidence[chosen]}
        )
        part["label"] = grid.of_sample("label")[chosen]
        part["prediction"] = grid["prediction"][middle][chosen]
        part["path"] = [[int(a[sample]) for a in actions if a[sample] >= 0] if actions else None for sample in chosen]
        parts.append(part)
    return pd.concat(parts, ignore_index=True).assign(
        policy=grid.policy[middle], operating_point=point, knob=grid.knob[middle]
    )
