"""What claims are about: measures of a method on a dataset, each an estimate over all expected seeds."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmark.analysis import controls, statistics
from benchmark.analysis.difficulty import BINS
from benchmark.analysis.formatting import DIFFERENCE
from benchmark.analysis.outcomes import Outcomes
from benchmark.analysis.rank_correlation import spearman_contributions
from benchmark.analysis.static_networks import Frontier, best_static
from benchmark.analysis.statistics import Estimate
from benchmark.analysis.times import Timed


class NotMeasured(Exception):
    """A measure that the recorded runs do not give, and why."""


@dataclass(frozen=True)
class Measure:
    """A number about a method on a dataset, and how it is read.

    Attributes:
        estimate: from (outcomes, dataset, method).
        text: a number with its unit.
        reads: sentences for an effect above and below zero, `{}` standing for its size.
        possible: what the number can be at all, at which intervals are cut.
        matched: whether it is taken at `matched` points.
        choosing: whether it says something about an agent's choices, and so nothing where none were made.
    """

    estimate: Callable[[Outcomes, str, str], Estimate]
    text: Callable[[float], str]
    reads: tuple[str, str]
    possible: tuple[float, float] = DIFFERENCE
    matched: bool = False
    choosing: bool = False

    def sentence(self, effect: float) -> str:
        """The effect in words, such as "saves 27.5%"."""
        return self.reads[effect < 0].format(self.text(abs(effect)))


def points(value: float) -> str:
    """A difference of shares in percentage points."""
    return f"{100 * value:.2f} points"


def share(value: float) -> str:
    """A share in percent."""
    return f"{100 * value:.1f}%"


def correlation(value: float) -> str:
    """A correlation coefficient."""
    return f"{value:.2f}"


def accuracy_difference(outcomes: Outcomes, dataset: str, method: str) -> Estimate:
    """Test accuracy less that of the best static network, over seeds and samples, at `matched` points."""
    standard = best_static(outcomes, dataset)
    ours = _stacked(outcomes.correct(dataset, method, matched(outcomes, dataset, method)))
    theirs = _stacked(outcomes.correct(dataset, standard, outcomes.best(dataset, standard)))
    return statistics.nested_difference(ours, theirs)


def compute_saved(outcomes: Outcomes, dataset: str, method: str) -> Estimate:
    """The share of the best static network's MACs that is not spent, at `matched` points, over seeds and samples."""
    return _saved(*_spent(outcomes, dataset, method))


def time_saved(outcomes: Outcomes, dataset: str, method: str) -> Estimate:
    """The share of the best static network's time that is not spent, at `matched` points, over seeds and samples.

    That at the batch size where it is least. The time of a seed that was not timed is read off the timed seeds' curves
    at its own MACs (`Timed.at_macs`). What a batch takes is divided among its samples by their MACs.
    """
    timed, standard = Timed(outcomes), best_static(outcomes, dataset)
    if not timed.seeds(dataset, method) or not timed.seeds(dataset, standard):
        raise NotMeasured("no timings were taken; `snakemake latency` takes them")
    ours, theirs = _spent(outcomes, dataset, method)

    def milliseconds(name: str, spent: np.ndarray, size: int) -> np.ndarray:
        macs = spent.mean(axis=1)
        times = _complete([timed.at_macs(dataset, name, each, size) for each in macs], f"timings at batch size {size}")
        return spent * (np.array(times) / macs)[:, None]

    estimates = [_saved(milliseconds(method, ours, size), milliseconds(standard, theirs, size)) for size in timed.sizes]
    return min(estimates, key=lambda estimate: float(estimate.value))


def _spent(outcomes: Outcomes, dataset: str, method: str) -> tuple[np.ndarray, np.ndarray]:
    """MACs of every seed and sample at `matched` points, and the best static network's: each [seeds, samples]."""
    standard = best_static(outcomes, dataset)
    ours = _stacked(outcomes.spent(dataset, method, matched(outcomes, dataset, method)))
    return ours, _stacked(outcomes.spent(dataset, standard, outcomes.best(dataset, standard)))


def _saved(ours: np.ndarray, theirs: np.ndarray) -> Estimate:
    """The share of `theirs` that `ours` saves, both [seeds, samples]."""
    ratio, unit = ours.mean() / theirs.mean(), theirs.mean()
    # The ratio's error to first order: that of (ours - ratio * theirs) / unit, whose value is 0.
    linear = statistics.nested_difference(ours / unit, ratio * theirs / unit)
    return Estimate(1 - ratio, linear.error, linear.freedom)


def difficulty_correlation(outcomes: Outcomes, dataset: str, method: str) -> Estimate:
    """Spearman's correlation of a test sample's MACs with its difficulty, over seeds and samples, at the middle."""
    spent = _stacked(outcomes.spent(dataset, method, middle(outcomes, dataset, method)))
    difficulty = outcomes.samples[dataset]["difficulty"].to_numpy(float) if dataset in outcomes.samples else np.zeros(0)
    known = np.isfinite(difficulty)
    if known.sum() < 2:
        raise NotMeasured("no difficulty is known: the dataset has no dial and the reference is missing")
    return statistics.crossed_mean(spearman_contributions(spent[:, known], difficulty[known]))


def easy_excess(outcomes: Outcomes, dataset: str, method: str) -> Estimate:
    """MACs on the easiest third over those of the direct pass, less 1, over seeds and samples, at the middle."""
    _recorded(outcomes, dataset, method, "never")
    direct = np.array(_complete(outcomes.at_best(dataset, method, "macs", "never")))
    spent = _stacked(outcomes.spent(dataset, method, middle(outcomes, dataset, method)))
    bins = outcomes.samples[dataset]["bin"].to_numpy() if dataset in outcomes.samples else np.zeros(0)
    easy = (bins >= 0) & (bins < BINS // 3)
    if not easy.any():
        raise NotMeasured("no difficulty is known, or no sample is easier than the others")
    return statistics.crossed_mean(spent[:, easy] / direct[:, None] - 1)


def advantage_over_blind(outcomes: Outcomes, dataset: str, method: str) -> Estimate:
    """Test accuracy less that of the best policy that does not look, at equal MACs, over seeds and samples.

    Random choices depend only on the sample, so all seeds share the draws, and only the spread over samples shows
    the effect of chance.
    """
    return _advantage(outcomes, dataset, method, controls.BLIND, "no control that does not look was recorded")


def advantage_over_threshold(outcomes: Outcomes, dataset: str, method: str) -> Estimate:
    """Test accuracy less that of the best threshold on confidence, at equal MACs, over seeds and samples."""
    return _advantage(outcomes, dataset, method, controls.THRESHOLDS, "no control with a threshold was recorded")


def advantage_over_one_order(outcomes: Outcomes, dataset: str, method: str) -> Estimate:
    """Test accuracy less that of the same agent in the best fixed order, at equal MACs, over seeds and samples."""
    return _advantage(outcomes, dataset, method, controls.ONE_ORDER, "no control with a fixed order was recorded")


def _advantage(outcomes: Outcomes, dataset: str, method: str, policies: Sequence[str], lacking: str) -> Estimate:
    choosing = [policy for policy in policies if policy != "never"]  # the direct pass alone is no rival
    if not any(any(outcomes.curves(dataset, method, policy)) for policy in choosing):
        raise NotMeasured(lacking if any(outcomes.curves(dataset, method)) else _count(outcomes, dataset, method))
    found = [controls.advantage_over_best(outcomes, dataset, method, seed, policies) for seed in outcomes.seeds]
    return statistics.crossed_mean(_complete(found, "operating points of equal compute"))


def static_frontier_margin(outcomes: Outcomes, dataset: str, method: str) -> Estimate:
    """How far the curve lies above the frontier of static networks, averaged over it, over seeds and samples."""
    found = Frontier(outcomes, dataset).margin(method)
    if found is None:
        _complete(outcomes.curves(dataset, method))
        raise NotMeasured("no static network has all its seeds, or a seed's curve costs less than the cheapest of them")
    return found[0]


def reevaluation_gain(outcomes: Outcomes, dataset: str, method: str) -> Estimate:
    """Test accuracy on the hardest third less the direct pass's, over seeds and samples, at the middle of the curve."""
    bins = outcomes.samples[dataset]["bin"].to_numpy() if dataset in outcomes.samples else np.zeros(0)
    hard = bins >= BINS - BINS // 3
    if not hard.any():
        raise NotMeasured("no difficulty is known, or no sample is harder than the others")
    chosen = _stacked(outcomes.correct(dataset, method, middle(outcomes, dataset, method)))
    return statistics.crossed_mean((chosen - _at_largest(outcomes, dataset, method, "never"))[:, hard])


def iteration_gain(outcomes: Outcomes, dataset: str, method: str) -> Estimate:
    """Test accuracy with every round spent on every sample less the direct pass's, over seeds and samples."""
    always = _at_largest(outcomes, dataset, method, "always")
    return statistics.crossed_mean(always - _at_largest(outcomes, dataset, method, "never"))


MORE_ACCURATE = ("{} more accurate", "{} less accurate")
MEASURES: dict[str, Measure] = {
    "accuracy_difference": Measure(accuracy_difference, points, MORE_ACCURATE, matched=True),
    "compute_saved": Measure(
        compute_saved, share, ("saves {}", "spends {} more"), possible=(-math.inf, 1.0), matched=True
    ),
    "time_saved": Measure(time_saved, share, ("saves {}", "takes {} longer"), possible=(-math.inf, 1.0), matched=True),
    "difficulty_correlation": Measure(
        difficulty_correlation, correlation, ("correlation {}", "correlation -{}"), choosing=True
    ),
    "easy_excess": Measure(
        easy_excess, share, ("spends {} more", "spends {} less"), possible=(-1.0, math.inf), choosing=True
    ),
    "advantage_over_blind": Measure(advantage_over_blind, points, MORE_ACCURATE, choosing=True),
    "advantage_over_threshold": Measure(advantage_over_threshold, points, MORE_ACCURATE, choosing=True),
    "advantage_over_one_order": Measure(advantage_over_one_order, points, MORE_ACCURATE, choosing=True),
    "static_frontier_margin": Measure(static_frontier_margin, points, ("{} above", "{} below")),
    "reevaluation_gain": Measure(reevaluation_gain, points, MORE_ACCURATE, choosing=True),
    "iteration_gain": Measure(iteration_gain, points, MORE_ACCURATE),
}


def unmatched(outcomes: Outcomes, dataset: str, method: str) -> str | None:
    """What has to be said where some seed has no matched point."""
    standard = best_static(outcomes, dataset)
    reaching = outcomes.reaching(dataset, method, standard)
    lacking = reaching.count(None)
    if not lacking:
        return None
    return f"{lacking}/{len(reaching)} seeds never match {standard} on validation, and are taken at their best"


def matched(outcomes: Outcomes, dataset: str, method: str) -> list[int | None]:
    """Each seed's cheapest point as accurate on validation as the best static network; else its most accurate."""
    reaching = outcomes.reaching(dataset, method, best_static(outcomes, dataset))
    best = outcomes.best(dataset, method)
    return [most if point is None else point for point, most in zip(reaching, best, strict=True)]


def middle(outcomes: Outcomes, dataset: str, method: str) -> list[int | None]:
    """Each seed's point in the middle of its curve, where there is most to choose."""
    return [None if curve is None else curve.middle() for curve in outcomes.curves(dataset, method)]


def _at_largest(outcomes: Outcomes, dataset: str, method: str, policy: str) -> np.ndarray:
    """Whether each test sample was right under a control at its most compute: [seeds, samples]."""
    _recorded(outcomes, dataset, method, policy)
    curves = outcomes.curves(dataset, method, policy)
    points = [None if curve is None else curve.largest() for curve in curves]
    return _stacked(outcomes.correct(dataset, method, points, policy))


def _recorded(outcomes: Outcomes, dataset: str, method: str, policy: str) -> None:
    runs = zip(outcomes.curves(dataset, method), outcomes.curves(dataset, method, policy), strict=True)
    if any(own is not None and control is None for own, control in runs):
        raise NotMeasured(f"the control {policy!r} was not recorded")


def _count(outcomes: Outcomes, dataset: str, method: str) -> str:
    found = sum(curve is not None for curve in outcomes.curves(dataset, method))
    return f"only {found} of {len(outcomes.seeds)} seeds have results"


def _complete(values: Sequence[Any], which: str = "results") -> list[Any]:
    """`values`, if no seed lacks one: a verdict is never reached on fewer seeds than were planned."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        raise NotMeasured(f"only {len(known)} of {len(values)} seeds have {which}")
    return known


def _stacked(values: Sequence[np.ndarray | None]) -> np.ndarray:
    """One row per seed, [seeds, samples]."""
    return np.stack(_complete(values))
