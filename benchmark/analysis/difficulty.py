"""How hard each test sample is, and how accuracy and compute vary with it."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from benchmark.analysis.grid import Grid
from benchmark.evaluation import records

#: Samples are binned by their rank in difficulty. A third of the samples is a whole number of bins.
BINS = 9


def graded_samples(folders: Sequence[Path], reference: Sequence[Path]) -> pd.DataFrame | None:
    """The test samples of a dataset with their difficulty, as its runs' records give them; None if no run does.

    Where the dataset has no dial, a sample is as hard as the reference network finds it: (1 - m) / 2, where m is the
    mean over seeds of the confidence in a right prediction, or minus that in a wrong one.

    Args:
        folders: of the dataset's finished runs.
        reference: those of the reference network.

    Returns:
        sample, label, difficulty, dial (what the difficulty is), bin (-1 where the difficulty is unknown).
    """
    by_reference = [samples for folder in reference if (samples := _judged(folder)) is not None]
    # A reference whose records are damaged is a hole; the other runs must not become holes with it.
    others = (samples for folder in folders if (samples := _judged(folder)) is not None)
    seen = by_reference or list(islice(others, 1))
    if not seen:
        return None
    samples = seen[0].rename(columns={"difficulty": "dial"})
    if samples["dial"].notna().any():
        samples = samples.assign(difficulty=samples["dial"], dial="difficulty")
    elif by_reference:
        margin = np.mean([judged["margin"] for judged in seen if len(judged) == len(samples)], axis=0)
        samples = samples.assign(difficulty=(1 - margin) / 2, dial="doubt of the reference")
    else:
        samples = samples.assign(difficulty=np.nan, dial=None)
    rank = samples["difficulty"].rank(method="average")
    # Samples of equal difficulty share the middle of their ranks, and so a bin.
    share = (rank - 0.5) / rank.count()
    bins = np.floor(BINS * share).fillna(-1).astype("int8")
    return samples.assign(bin=bins)[["sample", "label", "difficulty", "dial", "bin"]]


def _judged(folder: Path) -> pd.DataFrame | None:
    """A run's test samples: label, difficulty, and the run's margin at the most expensive of its own points."""
    needed = ["split", "policy", "operating_point", "sample", "label", "prediction", "difficulty", "confidence", "macs"]
    try:
        table = records.read(folder / "records.parquet", needed)
    except (OSError, pa.ArrowException):
        return None
    table = table[(table["split"] == "test") & (table["policy"] == "own")]
    largest = table.groupby("operating_point", observed=True)["macs"].mean().idxmax()
    table = table[table["operating_point"] == largest].sort_values("sample", ignore_index=True)
    right = table["prediction"] == table["label"]
    margin = table["confidence"].where(right, -table["confidence"])
    return table[["sample", "label", "difficulty"]].assign(margin=margin)


def by_difficulty(grid: Grid, samples: pd.DataFrame) -> pd.DataFrame:
    """Accuracy and compute in each bin of difficulty at each operating point."""
    bins = samples["bin"].to_numpy()
    found = np.unique(bins[bins >= 0])
    members = (bins[:, None] == found).astype(float)  # [samples, found]
    return grid.by_point_and(
        "bin",
        found,
        dial=np.array([samples["dial"].iloc[0]], object),
        difficulty=np.nan_to_num(samples["difficulty"].to_numpy(float)) @ members / members.sum(axis=0),
        **_means(grid, members),
    )


def by_group(grid: Grid) -> pd.DataFrame:
    """Accuracy and compute in each group of the dataset's samples at each operating point; no rows without groups."""
    if "group" not in grid.columns:
        return grid.by_point_and("group", np.empty(0, object))
    groups = grid.of_sample("group").astype(str)
    found = np.unique(groups)
    members = (groups[:, None] == found).astype(float)  # [samples, found]
    return grid.by_point_and("group", found.astype(object), **_means(grid, members))


def _means(grid: Grid, members: np.ndarray) -> dict[str, np.ndarray]:
    """How many samples each part of a split has, and accuracy and compute there; `members` is [samples, parts]."""
    counts = members.sum(axis=0)
    means = {"accuracy": grid.correct @ members / counts, "macs": grid["macs"] @ members / counts}
    return {"samples": counts.astype(int), **means}
