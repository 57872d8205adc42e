"""The records of one run, reduced to its part of the summary's tables."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from benchmark.analysis import gallery
from benchmark.analysis.difficulty import by_difficulty, by_group
from benchmark.analysis.grid import Grid, rounds_of
from benchmark.analysis.rank_correlation import spearman
from benchmark.evaluation import records

#: Equal-width bins of confidence for the expected calibration error (Guo et al. 2017).
CALIBRATION_BINS = 15
QUANTILES = {"macs_q10": 0.1, "macs_q25": 0.25, "macs_q50": 0.5, "macs_q75": 0.75, "macs_q90": 0.9}


def reduced(job: tuple[Path, pd.DataFrame | None, bool]) -> dict[str, pd.DataFrame] | str:
    """The tables of one run, or what is wrong with its files.

    Args:
        job: the run's folder, its dataset's test samples (`graded_samples`), and whether the gallery shows it.
    """
    folder, samples, shown = job
    try:
        table = records.Columns(folder / "records.parquet")
        table.check()
        costs = json.loads((folder / "costs.json").read_text())
        validation, test = (Grid(table, split) for split in ("validation", "test"))
        if samples is None or not np.array_equal(test.of_sample("label"), samples["label"]):
            return "its test samples are not those of the other runs"
        tables = {
            "curves": pd.concat(
                [
                    _curve(validation, None).assign(split="validation"),
                    _curve(test, samples).assign(split="test"),
                ],
                ignore_index=True,
            ),
            "difficulty": by_difficulty(test, samples),
            "groups": by_group(test),
            "executions": _executions(test, {name: cost["macs"] for name, cost in costs.items()}),
            "actions": _actions(test),
            "notes": _notes(test),
            "correctness": test.by_point(
                samples=test.samples, correct=[row.tobytes() for row in np.packbits(test.correct, axis=1)]
            ),
            "spending": _spending(test),
            "history": pd.read_csv(folder / "history.csv"),
        }
        if shown:
            tables["gallery"] = gallery.extremes(test, gallery.middle(validation))
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        return f"{type(error).__name__}: {error}"
    return tables


def _spending(grid: Grid) -> pd.DataFrame:
    """The MACs spent on each sample at each of the method's own operating points, as the bytes of float32."""
    table = grid.by_point(samples=grid.samples, macs=[row.astype(np.float32).tobytes() for row in grid["macs"]])
    return table[table["policy"] == "own"]


def _curve(grid: Grid, samples: pd.DataFrame | None) -> pd.DataFrame:
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
        difficulty_correlation=np.nan if samples is None else _correlation(macs, samples["difficulty"].to_numpy()),
    )


def _correlation(macs: np.ndarray, difficulty: np.ndarray) -> np.ndarray:
    """Spearman's correlation of compute with difficulty at each operating point, where the difficulty is known."""
    known = np.isfinite(difficulty)
    return spearman(macs[:, known], difficulty[known])


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


def _executions(grid: Grid, costs: dict[str, int]) -> pd.DataFrame:
    """How often each component ran for a sample, on average, at each operating point, and for which share it ran."""
    columns = (grid[f"{records.EXECUTIONS}{name}"] for name in costs)
    executions, shares = zip(*((count.mean(axis=1), (count > 0).mean(axis=1)) for count in columns), strict=True)
    return grid.by_point_and(
        "component",
        np.array(list(costs), object),
        component_macs=np.array(list(costs.values())),
        executions=np.stack(executions, axis=1),
        share=np.stack(shares, axis=1),
    )


def _actions(grid: Grid) -> pd.DataFrame:
    """How many samples took each action in each round, at each operating point."""
    nothing = np.empty(0, int)
    parts = [grid.by_point_and("action", nothing, round=nothing, samples=nothing)]
    for number, taken in rounds_of(grid):
        actions = np.arange(taken.max() + 1)
        counts = (taken[:, None] == actions[:, None]).sum(axis=2)
        parts.append(grid.by_point_and("action", actions, round=np.array([number]), samples=counts))
    table = pd.concat(parts[1:] or parts, ignore_index=True)
    return table[table["samples"] > 0]


def _notes(grid: Grid) -> pd.DataFrame:
    """Mean of each note that is a measurement, at each operating point, over the samples that have it."""
    names, counts, totals = [], [], []
    for name in grid.columns:
        if not name.startswith(records.NOTE) or (values := grid[name]).dtype.kind != "f":
            continue
        known = np.isfinite(values)
        names.append(name.removeprefix(records.NOTE))
        counts.append(known.sum(axis=1))
        totals.append(np.where(known, values, 0).sum(axis=1, dtype=float))
    none = np.empty((len(grid.knob), 0), int)
    samples = np.stack(counts, axis=1) if names else none
    means = np.stack(totals, axis=1) / np.maximum(samples, 1) if names else none
    table = grid.by_point_and("note", np.array(names, object), samples=samples, mean=means)
    return table[table["samples"] > 0]
