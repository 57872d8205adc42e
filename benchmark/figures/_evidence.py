"""What figures read: the tables of an experiment's summary, the small files of its runs, and its images."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from benchmark.analysis import statistics
from benchmark.analysis.outcomes import middle_point
from benchmark.errors import UserError
from benchmark.experiment.configuration import Configuration

if TYPE_CHECKING:
    from benchmark.data import Dataset

RUN = ["dataset", "method", "seed"]


@dataclass(frozen=True)
class Evidence:
    """An experiment's results.

    Attributes:
        configuration: the experiment.
        results: the folder of all results.
        data: the folder of all data; only pictures of inputs need it, and it knows what dials of difficulty are called.
    """

    configuration: Configuration
    results: Path
    data: Path = Path("data")

    @property
    def folder(self) -> Path:
        """The experiment's own folder."""
        return self.results / self.configuration.experiment

    def summary(self, table: str) -> pd.DataFrame:
        """A table of the summary, in the configuration's order of datasets and methods; empty where there is none."""
        path = self.folder / "summary" / f"{table}.parquet"
        return self.in_order(pd.read_parquet(path)) if path.exists() else pd.DataFrame(columns=RUN)

    def run_files(self, name: str) -> pd.DataFrame:
        """The CSV file `name` of every run that has it, stacked, with the columns dataset, method and seed in front."""
        parts = [
            pd.read_csv(path).assign(dataset=run.dataset, method=run.method, seed=run.seed)
            for run in self.configuration.runs()
            if (path := run.folder(self.results) / name).exists()
        ]
        stacked = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=RUN)
        return stacked[RUN + [column for column in stacked if column not in RUN]]

    def dataset(self, label: str) -> "Dataset":
        """A prepared dataset, with its images."""
        from benchmark import data  # loads torch, which most figures do without

        configuration = self.configuration
        return data.load(configuration.dataset_kinds[label], configuration.dataset_parameters[label], self.data)

    def dial_name(self, label: str) -> str:
        """What a dataset's own dial of difficulty measures, as an axis label; "difficulty" where there is no data."""
        try:
            return self.dataset(label).difficulty_name or "difficulty"
        except UserError:
            return "difficulty"

    @cached_property
    def agent_actions(self) -> pd.DataFrame:
        """How many test samples took each action in each round, of `agent_method` when its own agent decides."""
        actions = self.of_agent(self.summary("actions"))
        if actions.empty:
            return actions
        return actions[actions["policy"] == "own"].astype({"round": int, "action": int, "samples": int})

    @cached_property
    def curves(self) -> pd.DataFrame:
        """Every run's operating points on the test split, with `static` and `reference` methods marked."""
        curves = self.summary("curves")
        if curves.empty:
            return curves
        curves = curves[curves["split"] == "test"].drop(columns="split")
        return curves.assign(
            static=curves["method"].isin(_without_knob(curves)),
            reference=curves["method"] == self.configuration.reference,
        )

    @property
    def own_curves(self) -> pd.DataFrame:
        """Those of `curves` at which each method decides as published, no control in its place."""
        return self.curves if self.curves.empty else self.curves[self.curves["policy"] == "own"]

    @cached_property
    def middle_points(self) -> pd.DataFrame:
        """Each run's operating point in the middle of its curve, which validation tells as it does for the verdicts."""
        curves = self.summary("curves")
        if curves.empty:
            return pd.DataFrame(columns=[*RUN, "operating_point"])
        return middle_points(curves[(curves["split"] == "validation") & (curves["policy"] == "own")])

    @property
    def static_methods(self) -> list[str]:
        """Methods that spend the same compute on every sample."""
        return [] if self.curves.empty else _without_knob(self.curves)

    def of_agent(self, table: pd.DataFrame) -> pd.DataFrame:
        """The rows of the method whose agent is looked into: the configuration's first DynaLay, not its variants."""
        return table[table["method"] == agent_method(self.configuration)]

    def presented(self, table: pd.DataFrame) -> pd.DataFrame:
        """`table` in order, with the number of `seeds` that each dataset and method has, of those `planned`."""
        counts = self.curves.groupby(RUN[:2], sort=False)["seed"].nunique().rename("seeds").reset_index()
        table = self.in_order(table).drop(columns="seeds", errors="ignore").merge(counts, on=RUN[:2], how="left")
        return table.assign(planned=len(self.configuration.seeds))

    def in_order(self, table: pd.DataFrame) -> pd.DataFrame:
        """The rows of configured datasets and methods, in the configuration's order."""
        datasets, methods = self.configuration.datasets, self.configuration.methods
        table = table[table["dataset"].isin(datasets) & table["method"].isin(methods)]
        order = np.lexsort((table["method"].map(methods.index), table["dataset"].map(datasets.index)))
        return table.iloc[order].reset_index(drop=True)


def agent_method(configuration: Configuration) -> str | None:
    """The first method of kind `dynalay`, or None."""
    return next((label for label, kind in configuration.method_kinds.items() if kind == "dynalay"), None)


def _without_knob(curves: pd.DataFrame) -> list[str]:
    knobless = curves["knob"].isna().groupby(curves["method"], sort=False).all()
    return list(knobless.index[knobless])


def middle_points(curves: pd.DataFrame) -> pd.DataFrame:
    """The operating point in the middle of each run's curve."""
    macs = curves["macs"].to_numpy(float)
    chosen = [rows[middle_point(macs[rows])] for rows in curves.groupby(RUN).indices.values()]
    return curves.iloc[chosen][[*RUN, "operating_point"]]


def mean_curves(
    curves: pd.DataFrame, by: Sequence[str], x: str, y: str = "accuracy", along: str = "macs"
) -> pd.DataFrame:
    """Average runs' curves over seeds, point by point along the curve.

    Thresholds are chosen in each run, so the same place on two seeds' curves may have two knobs: points are matched by
    their rank in `along`.  Curves of unequal length are first resampled, linearly along the rank, to the shortest.

    Args:
        curves: one row a run and operating point, with `by`, `seed`, `x`, `y` and `along`.
        by: the columns that tell one averaged curve from another.
        x: a column to average.
        y: a column to average, with its interval.
        along: the column by which a curve's points are ordered and matched.

    Returns:
        `by`, `x`, `y` (means over seeds), `low` and `high` (95% interval of the mean of `y`), along the curve.
    """
    parts = []
    for keys, group in curves.groupby(list(by), sort=False):
        runs = [run.sort_values(along)[[x, y]].to_numpy(float) for _, run in group.groupby("seed", sort=True)]
        points = min(len(run) for run in runs)
        aligned = np.stack([_resampled(run, points) for run in runs])  # [seeds, points, 2]
        low, high = statistics.mean_interval(aligned[:, :, 1])
        means = aligned.mean(axis=0)
        part = pd.DataFrame({x: means[:, 0], y: means[:, 1], "low": low, "high": high})
        parts.append(part.assign(**dict(zip(by, keys, strict=True))))
    columns = [*by, x, y, "low", "high"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def _resampled(curve: np.ndarray, points: int) -> np.ndarray:
    """`curve` [n, 2] at `points` places, evenly spaced along its index."""
    place = np.linspace(0, len(curve) - 1, points)
    return np.stack([np.interp(place, np.arange(len(curve)), column) for column in curve.T], axis=1)


def mean_over_seeds(table: pd.DataFrame, by: Sequence[str], value: str) -> pd.DataFrame:
    """The mean of `value` over the rows of each group (its seeds), and its 95% interval `low` to `high`."""
    parts = []
    for keys, group in table.groupby(list(by), sort=False):
        values = group[value].to_numpy(float)
        low, high = statistics.mean_interval(values)
        parts.append((*keys, values.mean(), low, high))
    return pd.DataFrame(parts, columns=[*by, value, "low", "high"])
