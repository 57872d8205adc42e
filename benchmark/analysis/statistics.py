"""Estimates, intervals and tests for few seeds, many samples and several datasets.

Which of them answers which question, and why, is told in `docs/statistics.md`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

#: A float or an array of floats: numpy makes no difference, and neither do these functions.
Floats = Any


@dataclass(frozen=True)
class Estimate:
    """An estimate with its uncertainty; each entry a float, or arrays of one shape.

    Attributes:
        value: the estimate.
        error: its standard error; NaN where it cannot be known (a single seed).
        freedom: the degrees of freedom of `error`, for Student's t.
    """

    value: Floats
    error: Floats
    freedom: Floats

    def interval(self, confidence: float = 0.95) -> tuple[Floats, Floats]:
        """The two-sided interval (low, high); NaN where the error is."""
        reach = stats.t.ppf((1 + confidence) / 2, self.freedom) * self.error
        return self.value - reach, self.value + reach

    def p_value(self, margin: float, direction: Literal["greater", "less"]) -> Floats:
        """One-sided p: how surprising the estimate were if the truth lay on `margin` or on the wrong side of it.

        Without any spread (error 0) the estimate is taken for the truth: 0, or 1 also where it equals the margin.
        """
        distance = np.asarray(self.value - margin if direction == "greater" else margin - self.value, float)
        with np.errstate(divide="ignore", invalid="ignore"):
            p = stats.t.sf(distance / self.error, self.freedom)
        return np.where(np.asarray(self.error) == 0, np.where(distance > 0, 0.0, 1.0), p)[()]

    def two_sided_p_value(self, value: float = 0.0) -> Floats:
        """How surprising the estimate were if the truth lay at `value`."""
        return np.minimum(2 * np.minimum(self.p_value(value, "greater"), self.p_value(value, "less")), 1)


def mean(values: ArrayLike) -> Estimate:
    """The mean over seeds with Student's t: exact for normal seeds, however few.

    Args:
        values: [seeds, ...]; the mean is taken over the first axis.
    """
    values = np.asarray(values, float)
    seeds = len(values)
    error = values.std(axis=0, ddof=1) / np.sqrt(seeds) if seeds > 1 else np.full(values.shape[1:], np.nan)
    value = values.mean(axis=0)
    return Estimate(value, error[()], np.full_like(value, max(seeds - 1, 1))[()])


def mean_interval(values: ArrayLike) -> tuple[Floats, Floats]:
    """The 95% interval (low, high) of the mean over the first axis of `values` [seeds, ...]."""
    return mean(values).interval()


def difference(ours: Estimate, theirs: Estimate) -> Estimate:
    """`ours` less `theirs` where the two are independent, with Welch's degrees of freedom."""
    variances = np.array([ours.error**2, theirs.error**2])
    spread = (variances**2 / np.array([ours.freedom, theirs.freedom])).sum(axis=0)
    freedom = np.divide(variances.sum(axis=0) ** 2, spread, out=np.ones_like(spread), where=spread != 0)
    return Estimate(ours.value - theirs.value, np.sqrt(variances.sum(axis=0)), freedom)


def crossed_mean(values: ArrayLike) -> Estimate:
    """The mean over seeds and test samples together, when both stand for more: other trainings, other inputs.

    All seeds are tested on the same samples, so the two are crossed.  In the random-effects model
    x[s, i] = m + seed[s] + sample[i] + rest[s, i] the mean squares estimate

        E[MS_seed] = v_rest + n v_seed,   E[MS_sample] = v_rest + k v_sample,   E[MS_rest] = v_rest

    for k seeds and n samples, hence Var(mean) = (MS_seed + MS_sample - MS_rest) / (k n), with Satterthwaite's degrees
    of freedom (Searle, Casella and McCulloch, *Variance Components*, 1992, ch. 4).  A bootstrap that draws seeds and
    samples independently counts the rest three times (Owen 2007, "The pigeonhole bootstrap").

    Args:
        values: [seeds, samples], such as correctness, or its difference between two methods on the same seeds and
            samples.
    """
    values = np.asarray(values, float)
    seeds, samples = values.shape
    value = values.mean()
    if seeds == 1:
        return Estimate(value, np.nan, 1)
    by_seed, by_sample = values.mean(axis=1), values.mean(axis=0)
    rest = values - by_seed[:, None] - by_sample + value
    squares = np.array([samples * by_seed.var() * seeds, seeds * by_sample.var() * samples, (rest**2).sum()])
    freedoms = np.array([seeds - 1, samples - 1, (seeds - 1) * (samples - 1)])
    mean_squares = squares / freedoms * [1, 1, -1]
    # The estimate of a variance component may be negative; the mean's variance then is what the larger one alone gives.
    variance = max(mean_squares.sum(), mean_squares.max())
    spread = (mean_squares**2 / freedoms).sum()
    freedom = variance**2 / spread if spread > 0 else samples - 1
    return Estimate(value, np.sqrt(variance / (seeds * samples)), max(freedom, 1))


def iqm(values: ArrayLike) -> Floats:
    """The interquartile mean over the last axis: the mean of the middle half (Agarwal et al. 2021).

    A quarter of the values is cut from each end; where that is no whole number, the values at the cuts count in part,
    so that the statistic moves smoothly with the number of values.
    """
    values = np.sort(np.asarray(values, float), axis=-1)
    count = values.shape[-1]
    places = np.arange(count)
    weights = np.clip(np.minimum(places + 1, 0.75 * count) - np.maximum(places, 0.25 * count), 0, 1)
    return (values * weights).sum(axis=-1) / weights.sum()


def stratified_bootstrap(
    values: ArrayLike, statistic: Callable[[Floats], Floats], *, replicates: int = 2000, seed: int = 0
) -> Estimate:
    """A statistic of all datasets' seeds together, its error by a bootstrap of the seeds within each dataset.

    A bootstrap of k values understates a variance by (k - 1) / k, a third for three seeds, and percentiles of so few
    values cannot reach beyond them.  So the bootstrap's error is widened by that factor, and the interval is Student's,
    with Satterthwaite's degrees of freedom for the variance that each dataset contributes (an interquartile mean may
    rest on half of them); for a mean this is the textbook interval.

    Args:
        values: [strata, seeds] (datasets by seeds).
        statistic: maps [..., count] to [...]: of the values of all strata, flattened.
        replicates: bootstrap replicates.
        seed: of the bootstrap's random stream.
    """
    values = np.asarray(values, float)
    strata, seeds = values.shape
    value = statistic(values.ravel())
    if seeds == 1:
        return Estimate(value, np.nan, 1)
    drawn = np.random.default_rng(seed).integers(seeds, size=(replicates, strata, seeds))
    sample = np.take_along_axis(values[None], drawn, axis=2)

    def variance(sample: Floats) -> Floats:
        return np.var(statistic(sample.reshape(replicates, -1)), axis=0, ddof=1) * seeds / (seeds - 1)

    alone = np.array([variance(np.where(np.arange(strata)[:, None] == one, sample, values)) for one in range(strata)])
    spread = (alone**2).sum(axis=0) / (seeds - 1)
    freedom = np.divide(alone.sum(axis=0) ** 2, spread, out=np.ones_like(spread), where=spread > 0)
    return Estimate(value, np.sqrt(variance(sample)), np.maximum(freedom, 1))


def performance_profile(values: ArrayLike, thresholds: ArrayLike) -> Estimate:
    """The share of all runs, datasets weighing the same, that score above each threshold (Agarwal et al. 2021, eq. 3).

    Args:
        values: [datasets, seeds], made comparable between datasets beforehand.
        thresholds: [thresholds].

    Returns:
        An estimate of shape [thresholds].
    """
    above = np.asarray(values, float)[..., None] > np.asarray(thresholds, float)  # [datasets, seeds, thresholds]
    datasets, seeds = above.shape[:2]
    by_dataset = above.mean(axis=1)
    error = np.sqrt((by_dataset * (1 - by_dataset)).sum(axis=0) / max(seeds - 1, 1)) / datasets
    if seeds == 1:
        error = np.full_like(error, np.nan)
    return Estimate(by_dataset.mean(axis=0), error, np.full_like(error, datasets * max(seeds - 1, 1)))


def holm(p_values: ArrayLike) -> Floats:
    """Holm's (1979) step-down adjustment of p-values, for control of the family-wise error.

    Args:
        p_values: [tests]; NaN where a test could not be made, which is then no member of the family.
    """
    p_values = np.asarray(p_values, float)
    made = np.flatnonzero(~np.isnan(p_values))
    order = made[np.argsort(p_values[made], kind="stable")]
    adjusted = np.full(p_values.shape, np.nan)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p_values[order] * np.arange(len(order), 0, -1)))
    return adjusted


def mixture(macs: ArrayLike, grid: ArrayLike) -> Floats:
    """How to mix operating points so that, on average, they spend the compute of `grid`.

    Between two neighbours a coin decides, sample by sample, which of them is used; so whatever is averaged over samples
    is interpolated linearly in MACs, and what comes out is a policy that could really be run.

    Args:
        macs: mean MACs of each operating point, [points], in any order; points of equal compute count as their mean.
        grid: MACs, [places].

    Returns:
        The share of each operating point at each place, [places, points]; NaN beyond the cheapest and the dearest.
    """
    distinct, inverse, counts = np.unique(np.asarray(macs, float), return_inverse=True, return_counts=True)
    places = np.asarray(grid, float)
    of_distinct = [np.interp(places, distinct, one, left=np.nan, right=np.nan) for one in np.eye(len(distinct))]
    return (np.stack(of_distinct, axis=-1) / counts)[..., inverse]
