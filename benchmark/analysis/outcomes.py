"""The one reader of an experiment's summary: its runs, curves and samples, and operating points chosen from them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from benchmark.analysis.curves import Curve
from benchmark.errors import UserError

#: The columns that name a run.
RUN = ["dataset", "method", "seed"]
#: The columns of a table of operating points.
POINT_COLUMNS = [*RUN, "policy", "operating_point", "knob", "samples", "macs", "accuracy"]


@dataclass(frozen=True)
class Outcomes:
    """The summary of an experiment, as `python -m benchmark summary` wrote it.

    Attributes:
        folder: the experiment's folder, which holds `summary/`.
    """

    folder: Path

    def table(self, name: str) -> pd.DataFrame:
        """A table of the summary, in the configuration's order of datasets and methods.

        Raises:
            UserError: it is not there.
        """
        table = self._read(name)
        return table if "method" not in table else self.in_order(table)

    def _read(self, name: str) -> pd.DataFrame:
        path = self.folder / "summary" / f"{name}.parquet"
        if not path.exists():
            raise UserError(
                f"{path} is missing; run `python -m benchmark summary --config CONFIG` for this experiment first."
            )
        return pd.read_parquet(path)

    # The grid

    @cached_property
    def runs(self) -> pd.DataFrame:
        """One row per expected run, in the configuration's order, with its status."""
        return self._read("runs")

    @cached_property
    def datasets(self) -> list[str]:
        """Dataset labels, in the configuration's order."""
        return list(self.runs["dataset"].unique())

    @cached_property
    def methods(self) -> list[str]:
        """Method labels, in the configuration's order."""
        return list(self.runs["method"].unique())

    @cached_property
    def kinds(self) -> dict[str, str]:
        """The kind of each method."""
        return dict(zip(self.runs["method"], self.runs["kind"], strict=True))

    @cached_property
    def reference(self) -> str:
        """The label of the method whose MACs are 100%."""
        return str(self.runs.loc[self.runs["reference"], "method"].iloc[0])

    @cached_property
    def seeds(self) -> list[int]:
        """The seeds that every dataset and method is expected to have."""
        return sorted(self.runs["seed"].unique().tolist())

    def grid(self) -> list[tuple[str, str]]:
        """All pairs of a dataset and a method."""
        return list(product(self.datasets, self.methods))

    def in_order(self, table: pd.DataFrame) -> pd.DataFrame:
        """The rows of this experiment's datasets and methods, in the configuration's order."""
        table = table[table["dataset"].isin(self.datasets) & table["method"].isin(self.methods)]
        order = np.lexsort((table["method"].map(self.methods.index), table["dataset"].map(self.datasets.index)))
        return table.iloc[order].reset_index(drop=True)

    def presented(self, table: pd.DataFrame) -> pd.DataFrame:
        """`table` in order, with the number of `seeds` that each dataset and method has, out of those `planned`."""
        counts = self.points.groupby(RUN[:2], sort=False)["seed"].nunique().rename("seeds").reset_index()
        table = self.in_order(table).drop(columns="seeds", errors="ignore").merge(counts, on=RUN[:2], how="left")
        return table.assign(planned=len(self.seeds))

    def of_runs(self, dataset: str, method: str, column: str) -> list[float | None]:
        """A column of `runs` for each seed; None for those that are not done."""
        runs = self.runs
        chosen = runs[(runs["dataset"] == dataset) & (runs["method"] == method) & (runs["status"] == "done")]
        known = dict(zip(chosen["seed"], chosen[column].astype(float), strict=True))
        return [known.get(seed) for seed in self.seeds]

    # Operating points

    @cached_property
    def points(self) -> pd.DataFrame:
        """Every run's operating points under every policy: their test columns, and `validation_macs`/`_accuracy`."""
        found = self.table("curves")
        if found.empty:
            return pd.DataFrame(columns=[*POINT_COLUMNS, "validation_macs", "validation_accuracy"])
        keys = [*RUN, "operating_point"]
        validation = found.loc[found["split"] == "validation", [*keys, "macs", "accuracy"]]
        validation = validation.rename(columns={"macs": "validation_macs", "accuracy": "validation_accuracy"})
        return found[found["split"] == "test"].drop(columns="split").merge(validation, on=keys)

    @cached_property
    def own_points(self) -> pd.DataFrame:
        """The `points` at which each method decides as published, with no control in its place."""
        return self.points[self.points["policy"] == "own"]

    @cached_property
    def static_methods(self) -> list[str]:
        """Methods that spend the same compute on every sample: those without a knob."""
        knobless = self.own_points["knob"].isna().groupby(self.own_points["method"], sort=False).all()
        return list(knobless.index[knobless])

    @cached_property
    def notes(self) -> pd.DataFrame:
        """The mean of each note that is a measurement, over the test samples of every run and operating point."""
        found = self.table("notes")
        return found if len(found) else pd.DataFrame(columns=[*POINT_COLUMNS[:6], "note", "samples", "mean"])

    @cached_property
    def actions(self) -> pd.DataFrame:
        """How many test samples took each action, by run, operating point and round."""
        return self.table("actions")

    @property
    def policies(self) -> list[str]:
        """Who decided, in any record: "own" and the controls."""
        return list(self.points["policy"].unique())

    def curve(self, dataset: str, method: str, seed: int, policy: str = "own") -> Curve | None:
        """A run's curve under a policy; None if the run is missing or was not recorded under it."""
        return self._curves.get((dataset, method, seed, policy))

    def curves(self, dataset: str, method: str, policy: str = "own") -> list[Curve | None]:
        """The curves of all expected seeds."""
        return [self.curve(dataset, method, seed, policy) for seed in self.seeds]

    @cached_property
    def _curves(self) -> dict[tuple[str, str, int, str], Curve]:
        if self.points.empty:
            return {}
        keys = [*RUN, "policy"]
        ordered = self.points.sort_values([*keys, "validation_macs"], kind="stable")
        # A frame for each of thousands of groups would take seconds, so whole columns are cut.
        first = np.flatnonzero(~ordered.duplicated(keys))
        columns = {
            "operating_points": "operating_point",
            **{name: name for name in ("validation_macs", "validation_accuracy", "macs", "accuracy", "ece")},
        }
        parts = {name: np.split(ordered[column].to_numpy(), first[1:]) for name, column in columns.items()}
        runs = ordered[keys].iloc[first].itertuples(index=False, name=None)
        return {run: Curve(**{name: part[place] for name, part in parts.items()}) for place, run in enumerate(runs)}

    # One point per seed

    def chosen(self, choose: Callable[[str, Curve], int | None]) -> pd.DataFrame:
        """One row of `own_points` per run: the point that `choose` picks, given the dataset and the run's curve."""
        names = [
            (dataset, method, seed, curve.operating_points[place])
            for (dataset, method, seed, policy), curve in self._curves.items()
            if policy == "own" and (place := choose(dataset, curve)) is not None
        ]
        keys = [*RUN, "operating_point"]
        return self.own_points.merge(pd.DataFrame(names, columns=keys), on=keys)

    def best(self, dataset: str, method: str, budget: float = np.inf, policy: str = "own") -> list[int | None]:
        """Each seed's `Curve.best`; None also for missing runs."""
        return [None if curve is None else curve.best(budget) for curve in self.curves(dataset, method, policy)]

    def reaching(self, dataset: str, method: str, standard: str) -> list[int | None]:
        """Each seed's cheapest point as accurate on validation as the `standard` at its best, averaged over its seeds.

        None where there is no such point, and for all seeds where a run of the standard is missing.
        """
        standards = self.curves(dataset, standard)
        accuracies = [np.nan if curve is None else curve.validation_accuracy.max() for curve in standards]
        return [None if c is None else c.reaching(float(np.mean(accuracies))) for c in self.curves(dataset, method)]

    def at(
        self, dataset: str, method: str, points: Sequence[int | None], column: str, policy: str = "own"
    ) -> list[float | None]:
        """A column of the curves at one point per seed; None where there is no point."""
        chosen = zip(self.curves(dataset, method, policy), points, strict=True)
        return [None if c is None or i is None else float(getattr(c, column)[i]) for c, i in chosen]

    def within_reference(self, dataset: str, method: str, share: float = 1.0) -> list[int | None]:
        """Each seed's best point within a share of the reference's mean MACs; none fits where those are unknown."""
        unit = self.reference_macs(dataset)
        return self.best(dataset, method, 0 if np.isnan(unit) else share * unit)

    def at_best(self, dataset: str, method: str, column: str, policy: str = "own") -> list[float | None]:
        """A column of the curves at each seed's best point."""
        return self.at(dataset, method, self.best(dataset, method, policy=policy), column, policy)

    def areas(self, dataset: str, method: str) -> list[float | None]:
        """Each seed's area under its curve; None for missing runs, or where the reference is missing."""
        unit = self.reference_macs(dataset)
        curves = [None if np.isnan(unit) else curve for curve in self.curves(dataset, method)]
        return [None if curve is None else curve.area(unit, self.majority_share(dataset)) for curve in curves]

    def reference_macs(self, dataset: str) -> float:
        """The reference's mean MACs for a test sample, over its finished runs; NaN without any."""
        known = [macs for macs in self.at_best(dataset, self.reference, "macs") if macs is not None]
        return float(np.mean(known)) if known else float("nan")

    # Sample by sample

    @cached_property
    def samples(self) -> dict[str, pd.DataFrame]:
        """The test samples of each dataset: sample, label, difficulty, dial, bin."""
        return dict(iter(self.table("samples").groupby("dataset")))

    def majority_share(self, dataset: str) -> float:
        """The test accuracy of always naming the most frequent class, which costs nothing."""
        return float(self.samples[dataset]["label"].value_counts(normalize=True).max())

    def correct(
        self, dataset: str, method: str, points: Sequence[int | None], policy: str = "own"
    ) -> list[np.ndarray | None]:
        """Whether each test sample was right (1) or not (0) at one point per seed: float [samples], or None."""
        chosen = zip(self.seeds, self.curves(dataset, method, policy), points, strict=True)
        return [
            None if c is None or i is None else self.right(dataset, method, seed, [c.operating_points[i]])[0]
            for seed, c, i in chosen
        ]

    def right(self, dataset: str, method: str, seed: int, operating_points: Iterable[str]) -> np.ndarray:
        """Whether each test sample was right at some of a run's operating points: float [operating points, samples]."""
        packed = [self._correctness[dataset, method, seed, name] for name in operating_points]
        rows = [np.unpackbits(np.frombuffer(bits, np.uint8), count=samples) for bits, samples in packed]
        return np.array(rows, float)

    @cached_property
    def _correctness(self) -> dict[tuple[str, str, int, str], tuple[bytes, int]]:
        table = self._read("correctness")
        keys = zip(table["dataset"], table["method"], table["seed"], table["operating_point"], strict=True)
        return dict(zip(keys, zip(table["correct"], table["samples"], strict=True), strict=True))

    def spent(self, dataset: str, method: str, points: Sequence[int | None]) -> list[np.ndarray | None]:
        """The MACs spent on each test sample at one of the own points per seed: float [samples]; None without one."""
        chosen = zip(self.seeds, self.curves(dataset, method), points, strict=True)
        return [
            None if c is None or i is None else self._spending[dataset, method, seed, c.operating_points[i]]
            for seed, c, i in chosen
        ]

    @cached_property
    def _spending(self) -> dict[tuple[str, str, int, str], np.ndarray]:
        table = self._read("spending")
        keys = zip(table["dataset"], table["method"], table["seed"], table["operating_point"], strict=True)
        return {key: np.frombuffer(b, np.float32).astype(float) for key, b in zip(keys, table["macs"], strict=True)}
