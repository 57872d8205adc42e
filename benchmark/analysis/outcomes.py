"""What a summary says of an experiment, and how an operating point is chosen: on validation, to be reported on test."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from benchmark.analysis import statistics
from benchmark.errors import UserError

#: The compute over which the area under a curve is taken, in units of the reference's MACs.  It is the same whatever
#: else is in the grid, so that a method's area does not change when another one is added.
AREA_RANGE = (1 / 8, 2.0)


def middle_point(macs: np.ndarray) -> int:
    """Which operating point is nearest to the middle of the compute that all of them span; of equals the cheapest."""
    distance = np.abs(macs - (macs.min() + macs.max()) / 2)
    return int(np.lexsort((macs, distance))[0])


@dataclass(frozen=True)
class Curve:
    """The operating points of one run under one policy, all arrays [points], the cheapest on validation first.

    What is used to choose is measured on the validation split, everything else on the test split.
    """

    operating_points: np.ndarray
    validation_macs: np.ndarray
    validation_accuracy: np.ndarray
    macs: np.ndarray
    accuracy: np.ndarray
    ece: np.ndarray
    difficulty_correlation: np.ndarray

    def best(self, budget: float = np.inf) -> int | None:
        """The operating point of highest validation accuracy within a budget of MACs; None if none fits."""
        # argmax takes the first of equals, which is the cheapest.
        fitting = int(np.searchsorted(self.validation_macs, budget, side="right"))
        return int(np.argmax(self.validation_accuracy[:fitting])) if fitting else None

    def reaching(self, accuracy: float) -> int | None:
        """The cheapest operating point whose validation accuracy is at least `accuracy`; None if none reaches it."""
        reached = np.flatnonzero(self.validation_accuracy >= accuracy)
        return int(reached[0]) if len(reached) else None

    def middle(self) -> int:
        """The operating point nearest to the middle of the compute that the curve spans on validation."""
        return middle_point(self.validation_macs)

    def area(self, reference_macs: float, floor: float) -> float:
        """The mean test accuracy over all budgets of `AREA_RANGE`, every doubling of the budget weighing the same.

        Args:
            reference_macs: the reference's MACs for a sample.
            floor: the accuracy that is to be had for nothing, where a budget is too small for any operating point.
        """
        low, high = (share * reference_macs for share in AREA_RANGE)
        ends = np.clip(np.array([low, *self.validation_macs, high]), low, high)
        # Which point is best changes only at the budgets at which another one begins to fit.
        bests = [floor] + [self.accuracy[np.argmax(self.validation_accuracy[: n + 1])] for n in range(len(self.macs))]
        return float(np.dot(np.diff(np.log(ends)), bests) / np.log(high / low))


@dataclass(frozen=True)
class Outcomes:
    """The summary of an experiment, as `python -m benchmark summary` wrote it.

    Attributes:
        folder: the experiment's folder, which holds `summary/`.
    """

    folder: Path

    def table(self, name: str) -> pd.DataFrame:
        """A table of the summary.

        Raises:
            UserError: it is not there.
        """
        path = self.folder / "summary" / f"{name}.parquet"
        if not path.exists():
            raise UserError(
                f"{path} is missing; run `python -m benchmark summary --config CONFIG` for this experiment first."
            )
        return pd.read_parquet(path)

    @cached_property
    def runs(self) -> pd.DataFrame:
        """One row an expected run, in the configuration's order, with its status."""
        return self.table("runs")

    @property
    def datasets(self) -> list[str]:
        """Dataset labels, in the configuration's order."""
        return list(self.runs["dataset"].unique())

    @property
    def methods(self) -> list[str]:
        """Method labels, in the configuration's order."""
        return list(self.runs["method"].unique())

    @property
    def reference(self) -> str:
        """The label of the method whose MACs are 100%."""
        return str(self.runs.loc[self.runs["reference"], "method"].iloc[0])

    @cached_property
    def seeds(self) -> list[int]:
        """The seeds that every dataset and method is expected to have."""
        return sorted(self.runs["seed"].unique().tolist())

    @property
    def policies(self) -> list[str]:
        """Who decided, in any record: "own" and the controls."""
        return list(dict.fromkeys(policy for *_, policy in self._curves))

    def grid(self) -> list[tuple[str, str]]:
        """All pairs of a dataset and a method."""
        return list(product(self.datasets, self.methods))

    def of_kind(self, kind: str) -> list[str]:
        """The labels of the methods of a kind."""
        return list(self.runs.loc[self.runs["kind"] == kind, "method"].unique())

    def of_runs(self, dataset: str, method: str, column: str) -> list[float | None]:
        """A column of `runs` for each seed; None for those that are not done."""
        runs = self.runs
        chosen = runs[(runs["dataset"] == dataset) & (runs["method"] == method) & (runs["status"] == "done")]
        known = dict(zip(chosen["seed"], chosen[column].astype(float), strict=True))
        return [known.get(seed) for seed in self.seeds]

    def curve(self, dataset: str, method: str, seed: int, policy: str = "own") -> Curve | None:
        """A run's curve under a policy; None if the run is missing or was not recorded under it."""
        return self._curves.get((dataset, method, seed, policy))

    def curves(self, dataset: str, method: str, policy: str = "own") -> list[Curve | None]:
        """The curves of all expected seeds."""
        return [self.curve(dataset, method, seed, policy) for seed in self.seeds]

    @cached_property
    def _curves(self) -> dict[tuple[str, str, int, str], Curve]:
        run = ["dataset", "method", "seed"]
        points = self.table("curves")
        if points.empty:
            return {}
        validation = points.loc[points["split"] == "validation", [*run, "operating_point", "macs", "accuracy"]]
        test = points[points["split"] == "test"]
        both = test.merge(validation, on=[*run, "operating_point"], suffixes=("", "_validation"))
        both = both.sort_values("macs_validation", kind="stable")
        return {
            key: Curve(
                operating_points=group["operating_point"].to_numpy(),
                validation_macs=group["macs_validation"].to_numpy(),
                validation_accuracy=group["accuracy_validation"].to_numpy(),
                macs=group["macs"].to_numpy(),
                accuracy=group["accuracy"].to_numpy(),
                ece=group["ece"].to_numpy(),
                difficulty_correlation=group["difficulty_correlation"].to_numpy(),
            )
            for key, group in both.groupby([*run, "policy"], observed=True)
        }

    def best(self, dataset: str, method: str, budget: float = np.inf, policy: str = "own") -> list[int | None]:
        """Each seed's `Curve.best`; None also for missing runs."""
        return [None if curve is None else curve.best(budget) for curve in self.curves(dataset, method, policy)]

    def reaching_reference(self, dataset: str, method: str) -> list[int | None]:
        """Each seed's cheapest point that is, on validation, as accurate as the same seed's reference at its best."""
        pairs = zip(self.curves(dataset, method), self.curves(dataset, self.reference), strict=True)
        return [
            None if ours is None or theirs is None else ours.reaching(theirs.validation_accuracy[theirs.best()].item())
            for ours, theirs in pairs
        ]

    def at(
        self, dataset: str, method: str, points: Sequence[int | None], column: str, policy: str = "own"
    ) -> list[float | None]:
        """A column of the curves at one point a seed; None where there is no point."""
        chosen = zip(self.curves(dataset, method, policy), points, strict=True)
        return [None if c is None or i is None else float(getattr(c, column)[i]) for c, i in chosen]

    def at_best(self, dataset: str, method: str, column: str, policy: str = "own") -> list[float | None]:
        """A column of the curves at each seed's best point."""
        return self.at(dataset, method, self.best(dataset, method, policy=policy), column, policy)

    def areas(self, dataset: str, method: str) -> list[float | None]:
        """Each seed's area under its curve; None for missing runs, or where the reference is missing."""
        unit = self.reference_macs(dataset)
        curves = [None if np.isnan(unit) else curve for curve in self.curves(dataset, method)]
        return [None if curve is None else curve.area(unit, self.majority_share(dataset)) for curve in curves]

    def advantages(self, dataset: str, method: str, policy: str) -> list[np.ndarray | None]:
        """Each seed's `advantage`."""
        return [self.advantage(dataset, method, seed, policy) for seed in self.seeds]

    def advantage(self, dataset: str, method: str, seed: int, policy: str) -> np.ndarray | None:
        """How much oftener a method's own choices are right than a control at equal MACs, for each sample: [samples].

        Averaged over those of its operating points whose compute the control can spend.  The direct pass is every
        control's cheapest point: random that never goes on, always with no round.  None where one of the two is
        missing, or they do not overlap in compute.
        """
        own, control = self.curve(dataset, method, seed), self.curve(dataset, method, seed, policy)
        if own is None or control is None:
            return None
        controls = [control, *filter(None, [self.curve(dataset, method, seed, "never")])]
        shares = statistics.mixture(np.concatenate([curve.macs for curve in controls]), own.macs)
        known = np.isfinite(shares).all(axis=1)
        if not known.any():
            return None
        names = np.concatenate([curve.operating_points for curve in controls])
        ours = self._right(dataset, method, seed, own.operating_points[known]).mean(axis=0)
        return ours - shares[known].mean(axis=0) @ self._right(dataset, method, seed, names)

    def correct(
        self, dataset: str, method: str, points: Sequence[int | None], policy: str = "own"
    ) -> list[np.ndarray | None]:
        """Whether each test sample was right (1) or not (0) at one point a seed: float [samples]; None without one."""
        chosen = zip(self.seeds, self.curves(dataset, method, policy), points, strict=True)
        return [
            None if c is None or i is None else self._right(dataset, method, seed, [c.operating_points[i]])[0]
            for seed, c, i in chosen
        ]

    def _right(self, dataset: str, method: str, seed: int, operating_points: Iterable[str]) -> np.ndarray:
        """Whether each test sample was right at some of a run's operating points: float [operating points, samples]."""
        packed = [self._correctness[dataset, method, seed, name] for name in operating_points]
        rows = [np.unpackbits(np.frombuffer(bits, np.uint8), count=samples) for bits, samples in packed]
        return np.array(rows, float)

    @cached_property
    def _correctness(self) -> dict[tuple[str, str, int, str], tuple[bytes, int]]:
        table = self.table("correctness")
        keys = zip(table["dataset"], table["method"], table["seed"], table["operating_point"], strict=True)
        return dict(zip(keys, zip(table["correct"], table["samples"], strict=True), strict=True))

    @cached_property
    def samples(self) -> dict[str, pd.DataFrame]:
        """The test samples of each dataset: sample, label, difficulty, dial, bin."""
        return dict(iter(self.table("samples").groupby("dataset")))

    def majority_share(self, dataset: str) -> float:
        """The test accuracy of always naming the most frequent class, which costs nothing."""
        return float(self.samples[dataset]["label"].value_counts(normalize=True).max())

    def reference_macs(self, dataset: str) -> float:
        """The reference's mean MACs for a test sample, over its finished runs; NaN without any."""
        known = [macs for macs in self.at_best(dataset, self.reference, "macs") if macs is not None]
        return float(np.mean(known)) if known else float("nan")
