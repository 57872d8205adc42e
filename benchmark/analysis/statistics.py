"""Estimates, intervals and tests for few seeds, many samples and several datasets.

`docs/statistics.md` says which of them answers which question, and why.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

#: A float or an array of floats: numpy does not distinguish them, and neither do these functions.
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
        """The two-sided interval (low, high); NaN where the error is unknown, or zero.

        A few seeds that happen to agree do not show that all others would: no spread is no knowledge of the spread.
        """
        reach = stats.t.ppf((1 + confidence) / 2, self.freedom) * np.where(
            np.asarray(self.error) == 0, np.nan, self.error
        )
        return (self.value - reach)[()], (self.value + reach)[()]

    def p_value(self, margin: float, direction: Literal["greater", "less"]) -> Floats:
        """One-sided p-value of the null hypothesis that the truth is at `margin` or on the wrong side of it.

        Without any spread (error 0) there is no t. All `freedom + 1` values then lie on one side of the margin, which
        has the probability 2 ** -(freedom + 1) if the margin is their median: the sign test.
        """
        distance = np.asarray(self.value - margin if direction == "greater" else margin - self.value, float)
        with np.errstate(divide="ignore", invalid="ignore"):
            p = stats.t.sf(distance / self.error, self.freedom)
        sign_test = np.where(distance > 0, 0.5 ** (np.asarray(self.freedom, float) + 1), 1.0)
        return np.where(np.asarray(self.error) == 0, sign_test, p)[()]

    def two_sided_p_value(self, value: float = 0.0) -> Floats:
        """Two-sided p-value of the null hypothesis that the truth is `value`."""
        return np.minimum(2 * np.minimum(self.p_value(value, "greater"), self.p_value(value, "less")), 1)


def mean(values: ArrayLike) -> Estimate:
    """The mean over seeds with Student's t: exact for normal seeds, however few.

    Args:
        values: [seeds, ...]; the mean is taken over the first axis.
    """
    values = np.asarray(values, float)
    seeds = len(values)
    error = values.std(axis=0, ddof=1) / np.sqrt(seeds) if seeds > 1 else np.full(values.shape[1:], np.nan)
    # Rounding gives equal values a spread in the last digit.
    error = np.where(np.ptp(values, axis=0) == 0, error * 0, error)
    value = values.mean(axis=0)
    return Estimate(value, error[()], np.full_like(value, max(seeds - 1, 1))[()])


def mean_interval(values: ArrayLike) -> tuple[Floats, Floats]:
    """The 95% interval (low, high) of the mean over the first axis of `values` [seeds, ...]."""
    return mean(values).interval()


def difference(ours: Estimate, theirs: Estimate) -> Estimate:
    """`ours` less `theirs` where the two are independent, with Welch's degrees of freedom."""
    variances = np.array([ours.error**2, theirs.error**2])
    spread = (variances**2 / np.array([ours.freedom, theirs.freedom])).sum(axis=0)
    least = np.minimum(ours.freedom, theirs.freedom)
    freedom = np.divide(variances.sum(axis=0) ** 2, spread, out=np.full_like(spread, least), where=spread != 0)
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
        values: [seeds, samples], such as correctness, or a difference within each run.
    """
    values = np.asarray(values, float)
    seeds, samples = values.shape
    value = values.mean()
    if seeds == 1:
        return Estimate(value, np.nan, 1)
    by_seed, by_sample, rest = _mean_squares(values)
    squares, freedoms = [by_seed, by_sample, -rest], [seeds - 1, samples - 1, (seeds - 1) * (samples - 1)]
    return _with_variance(value, np.array(squares) / (seeds * samples), np.array(freedoms))


def nested_difference(ours: ArrayLike, theirs: ArrayLike) -> Estimate:
    """The mean of `ours` less that of `theirs`: two methods with seeds of their own, tested on the same samples.

    Seeds are nested in methods: seed 1 of one method has nothing in common with seed 1 of another, so they are not
    paired.  Samples are crossed with methods and seeds.  In the model
    x[m, s, i] = m[m] + seed[m, s] + sample[i] + sample[m, i] + rest[m, s, i] the variance of the difference is the sum
    over both methods of v_seed / k, plus that of the samples' mean differences d[i] over n, which holds the rest of
    both as well.  Hence Var = Var(d) / n + sum over methods of (MS_seed - MS_rest) / (k n), with the degrees of freedom
    by Satterthwaite.

    Args:
        ours: [seeds, samples].
        theirs: [seeds, samples]: the same samples, any number of seeds.
    """
    ours, theirs = np.asarray(ours, float), np.asarray(theirs, float)
    samples = ours.shape[1]
    differences = ours.mean(axis=0) - theirs.mean(axis=0)
    value = differences.mean()
    if min(len(ours), len(theirs)) == 1:
        return Estimate(value, np.nan, 1)
    variances, freedoms = [differences.var(ddof=1) / samples], [samples - 1]
    for values in (ours, theirs):
        seeds = len(values)
        by_seed, _, rest = _mean_squares(values)
        variances += [by_seed / (seeds * samples), -rest / (seeds * samples)]
        freedoms += [seeds - 1, (seeds - 1) * (samples - 1)]
    return _with_variance(value, np.array(variances), np.array(freedoms))


def _mean_squares(values: np.ndarray) -> tuple[float, float, float]:
    """The mean squares of seeds, of samples and of the rest of `values` [seeds, samples]."""
    seeds, samples = values.shape
    by_seed, by_sample = values.mean(axis=1), values.mean(axis=0)
    rest = values - by_seed[:, None] - by_sample + values.mean()
    freedom = (seeds - 1) * (samples - 1)
    return samples * by_seed.var(ddof=1), seeds * by_sample.var(ddof=1), (rest**2).sum() / freedom


def _with_variance(value: float, parts: np.ndarray, freedoms: np.ndarray) -> Estimate:
    """The estimate whose variance is the sum of mean squares, with Satterthwaite's degrees of freedom."""
    # The estimate of a variance component may be negative; the variance then is what the largest part alone gives.
    variance = max(parts.sum(), parts.max())
    spread = (parts**2 / freedoms).sum()
    if spread == 0:
        return Estimate(value, 0.0, freedoms.min())
    return Estimate(value, np.sqrt(variance), max(variance**2 / spread, 1))


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


def wilson(hits: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """A proportion of runs with Wilson's (1927) 95% interval (value, low, high).

    It has a width also where all runs agree.  Runs of several datasets are pooled: datasets that differ make a pooled
    proportion surer than Wilson's interval says, never less sure.

    Args:
        hits: bool [runs, ...].
    """
    hits = np.asarray(hits, float)
    runs, share = len(hits), hits.mean(axis=0)
    z = stats.norm.ppf(0.975)
    centre = (share + z**2 / (2 * runs)) / (1 + z**2 / runs)
    reach = z * np.sqrt(share * (1 - share) / runs + z**2 / (4 * runs**2)) / (1 + z**2 / runs)
    # At 0 and 1 a limit is the share itself, but for rounding.
    return share, np.minimum(centre - reach, share), np.maximum(centre + reach, share)


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
