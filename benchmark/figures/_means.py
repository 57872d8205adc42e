"""Averages over seeds, with their intervals."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from benchmark.analysis import statistics


def mean_curves(
    curves: pd.DataFrame, by: Sequence[str], x: str, y: str = "accuracy", along: str = "macs"
) -> pd.DataFrame:
    """Average runs' curves over seeds, at equal compute.

    Two seeds choose different thresholds, so their operating points lie at different places. Each run's curve is taken
    as linear between its points, which a coin toss for each sample really gives, and averaged where all seeds have it:
    at the ends of the compute that they share, and between them at the mean places of their points. Where the seeds
    share no compute, their means make up one point.

    Args:
        curves: one row per run and operating point, with `by`, `seed`, `x`, `y` and `along`.
        by: the columns that distinguish one averaged curve from another.
        x: a column to average.
        y: a column to average, with its interval.
        along: the column of compute at which the runs are averaged.

    Returns:
        `by`, `x`, `y` (means over seeds), `low` and `high` (95% interval of the mean of `y`), along the curve.
    """
    parts = []
    for keys, group in curves.groupby(list(by), sort=False):
        runs = [_ascending(run[[along, x, y]].to_numpy(float)) for _, run in group.groupby("seed", sort=True)]
        low, high = max(run[0, 0] for run in runs), min(run[-1, 0] for run in runs)
        if low > high:
            aligned = np.stack([run[:, 1:].mean(axis=0, keepdims=True) for run in runs])
        else:
            places = _places([run[:, 0] for run in runs], low, high)
            aligned = np.stack([[np.interp(places, run[:, 0], column) for column in run[:, 1:].T] for run in runs])
            aligned = aligned.swapaxes(1, 2)  # [seeds, places, 2]
        lows, highs = statistics.mean_interval(aligned[:, :, 1])
        means = aligned.mean(axis=0)
        part = pd.DataFrame({x: means[:, 0], y: means[:, 1], "low": lows, "high": highs})
        parts.append(part.assign(**dict(zip(by, keys, strict=True))))
    columns = [*by, x, y, "low", "high"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def _ascending(curve: np.ndarray) -> np.ndarray:
    """A curve [points, 3] by its first column; points of equal compute become their mean."""
    places, inverse, counts = np.unique(curve[:, 0], return_inverse=True, return_counts=True)
    totals = np.stack([np.bincount(inverse, column) for column in curve.T], axis=1)
    return np.column_stack([places, totals[:, 1:] / counts[:, None]])


def _places(runs: Sequence[np.ndarray], low: float, high: float) -> np.ndarray:
    """Where to average: both ends, and between them as many places as the longest run has, at their mean positions."""
    points = max(map(len, runs))
    rank = np.linspace(0, 1, points)
    inside = np.mean([np.interp(rank, np.linspace(0, 1, len(run)), run) for run in runs], axis=0)
    return np.unique([low, *inside[(inside > low) & (inside < high)], high])


def mean_over_seeds(table: pd.DataFrame, by: Sequence[str], value: str) -> pd.DataFrame:
    """The mean of `value` over the rows of each group (its seeds), and its 95% interval `low` to `high`."""
    parts = []
    for keys, group in table.groupby(list(by), sort=False):
        values = group[value].to_numpy(float)
        low, high = statistics.mean_interval(values)
        parts.append((*keys, values.mean(), low, high))
    return pd.DataFrame(parts, columns=[*by, value, "low", "high"])
