import numpy as np
import pytest
from scipy import stats

from benchmark.analysis import statistics

#: A simulated coverage of 95% over this many trials has a standard error of half a point.
TRIALS = 2000


def covered(estimates, truth):
    """The share of intervals that hold the truth."""
    intervals = np.array([estimate.interval() for estimate in estimates])
    return np.mean((intervals[:, 0] <= truth) & (truth <= intervals[:, 1]))


def test_mean_of_three_by_hand():
    estimate = statistics.mean([1.0, 2.0, 6.0])
    assert estimate.value == pytest.approx(3)
    assert estimate.error == pytest.approx(np.sqrt(7 / 3))  # variance 7
    low, high = estimate.interval()
    assert (low, high) == pytest.approx((3 - 4.302653 * np.sqrt(7 / 3), 3 + 4.302653 * np.sqrt(7 / 3)))


def test_mean_is_taken_over_the_first_axis_only():
    values = np.random.default_rng(0).normal(size=(4, 3))
    low, high = statistics.mean_interval(values)
    assert low.shape == high.shape == (3,)
    assert (low[1], high[1]) == pytest.approx(statistics.mean(values[:, 1]).interval())


def test_one_seed_has_no_interval():
    assert np.isnan(statistics.mean([0.5]).interval()).all()
    assert np.isnan(statistics.crossed_mean([[1, 0, 1]]).interval()).all()
    assert np.isnan(statistics.stratified_bootstrap([[1.0], [2.0]], statistics.iqm).interval()).all()


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_coverage_of_the_mean(seeds):
    values = np.random.default_rng(0).normal(0.8, 0.02, size=(seeds, 20_000))
    low, high = statistics.mean_interval(values)
    assert 0.945 < np.mean((low <= 0.8) & (high >= 0.8)) < 0.955


def test_a_percentile_bootstrap_of_three_seeds_would_not_cover():
    """Why `mean` does not bootstrap: all that three seeds can be resampled to lies between their extremes."""
    values = np.random.default_rng(0).normal(size=(20_000, 3))
    assert np.mean((values.min(axis=1) <= 0) & (values.max(axis=1) >= 0)) < 0.76


def simulated_correctness(rng, seeds, samples, accuracy=0.8, seed_spread=0.02, sample_spread=1.0):
    """Correctness [seeds, samples] of a population of seeds and samples whose mean is `accuracy`, by a probit model."""
    threshold = stats.norm.ppf(accuracy) * np.sqrt(1 + sample_spread**2 + (5 * seed_spread) ** 2)
    ease = rng.normal(0, sample_spread, size=samples) + rng.normal(0, 5 * seed_spread, size=(seeds, 1))
    return rng.normal(size=(seeds, samples)) + ease + threshold > 0


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize(("seed_spread", "sample_spread"), [(0.005, 1.0), (0.02, 1.0), (0.02, 2.0)])
def test_coverage_over_seeds_and_samples(seeds, seed_spread, sample_spread):
    rng = np.random.default_rng(0)
    estimates = [
        statistics.crossed_mean(simulated_correctness(rng, seeds, 400, 0.8, seed_spread, sample_spread))
        for _ in range(TRIALS)
    ]
    assert 0.93 < covered(estimates, 0.8) < 0.97


def test_coverage_of_a_paired_difference_over_seeds_and_samples():
    rng = np.random.default_rng(0)
    estimates = []
    for _ in range(TRIALS):
        ease = rng.normal(size=300)
        ours = rng.normal(size=(4, 300)) + ease + rng.normal(0, 0.1, size=(4, 1)) > -0.8
        theirs = rng.normal(size=(4, 300)) + ease + rng.normal(0, 0.1, size=(4, 1)) > -0.8
        estimates.append(statistics.crossed_mean(ours.astype(float) - theirs))
    assert 0.93 < covered(estimates, 0.0) < 0.97


def test_crossed_mean_by_hand():
    """Two seeds, two samples: MS_seed = 0.25, MS_sample = 0.25, MS_rest = 0.25 around the mean 0.75."""
    estimate = statistics.crossed_mean([[1, 1], [1, 0]])
    assert estimate.value == 0.75
    assert estimate.error == pytest.approx(np.sqrt(0.25 / 4))


def test_a_nested_difference_by_hand():
    """Two seeds each, two samples.  Of the samples' differences (1, 0.5) the mean's variance is 0.0625; ours has no
    spread, theirs has MS_seed = MS_rest = 0.25, which cancel."""
    estimate = statistics.nested_difference([[1, 1], [1, 1]], [[0, 0], [0, 1]])
    assert estimate.value == 0.75
    assert estimate.error == pytest.approx(np.sqrt(0.0625))


def two_methods(rng, ours, theirs, seed_spread, samples=300):
    """Correctness of two methods that are equally good, with seeds of their own on shared samples."""
    ease, interaction = rng.normal(size=samples), rng.normal(0, 0.5, size=(2, 1, samples))
    return [
        rng.normal(size=(k, samples)) + ease + own + rng.normal(0, seed_spread, size=(k, 1)) > -1
        for k, own in zip((ours, theirs), interaction, strict=True)
    ]


@pytest.mark.parametrize(("ours", "theirs"), [(3, 3), (5, 5), (10, 10), (3, 10)])
@pytest.mark.parametrize("seed_spread", [0.1, 0.25])
def test_coverage_and_null_rate_of_a_difference_of_methods(ours, theirs, seed_spread):
    rng = np.random.default_rng(0)
    estimates = [statistics.nested_difference(*two_methods(rng, ours, theirs, seed_spread)) for _ in range(1000)]
    assert 0.93 < covered(estimates, 0.0) < 0.975
    assert np.mean([estimate.p_value(0, "greater") <= 0.025 for estimate in estimates]) < 0.045


def test_pairing_seeds_that_have_nothing_in_common_only_widens_the_interval():
    rng = np.random.default_rng(0)
    widths = []
    for _ in range(300):
        ours, theirs = (method.astype(float) for method in two_methods(rng, 3, 3, 0.5))
        estimates = statistics.nested_difference(ours, theirs), statistics.crossed_mean(ours - theirs)
        widths.append([high - low for low, high in (estimate.interval() for estimate in estimates)])
    nested, paired = np.mean(widths, axis=0)
    assert paired > 1.15 * nested


def test_equal_values_have_no_interval_and_no_p_of_zero():
    """Two seeds that agree by chance do not prove that all others would."""
    for certain in (statistics.mean([0.25, 0.25]), statistics.crossed_mean(np.full((2, 10), 0.25)),
                    statistics.nested_difference(np.full((2, 10), 0.5), np.full((2, 10), 0.25))):  # fmt: skip
        assert np.isnan(certain.interval()).all()
        assert certain.p_value(0.1, "greater") == 0.25  # two of two seeds on one side of the margin
        assert certain.p_value(0.1, "less") == certain.p_value(0.25, "greater") == 1
    assert statistics.mean([0.1, 0.1, 0.1]).error == 0  # whatever is left by rounding


def test_null_rate_where_seeds_often_agree():
    """Accuracies on few samples, so that two seeds agree in one trial out of six; the margin is the truth."""
    hits = np.random.default_rng(0).binomial(20, 0.95, size=(2, 20_000)) / 20
    p = statistics.mean(hits).p_value(0.95, "greater")
    assert np.mean(p <= 0.025) < 0.025
    assert p.min() > 0


def test_iqm_by_hand():
    assert statistics.iqm([9, 1, 2, 3]) == pytest.approx(2.5)
    # Five values: 1.25 are cut from each end, so the second and fourth count three quarters.
    assert statistics.iqm([100, 1, 2, 3, 7]) == pytest.approx((0.75 * 2 + 3 + 0.75 * 7) / 2.5)
    values = np.random.default_rng(0).normal(size=(2, 12))
    assert statistics.iqm(values) == pytest.approx(stats.trim_mean(values, 0.25, axis=1))


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("statistic", [statistics.iqm, lambda values: values.mean(axis=-1)])
def test_coverage_of_the_stratified_bootstrap(seeds, statistic):
    rng = np.random.default_rng(0)
    centres = np.array([0.6, 0.7, 0.75, 0.8, 0.85, 0.95])[:, None]
    spreads = np.array([0.01, 0.02, 0.02, 0.01, 0.02, 0.01])[:, None]
    population = statistic(
        rng.normal(centres, spreads, size=(4000, seeds, 6, 1)).transpose(0, 2, 1, 3).reshape(4000, -1)
    )
    estimates = [
        statistics.stratified_bootstrap(rng.normal(centres, spreads, size=(6, seeds)), statistic, replicates=300)
        for _ in range(TRIALS)
    ]
    assert 0.93 < covered(estimates, population.mean()) < 0.97


def test_the_bootstrap_error_of_a_mean_is_the_textbook_one():
    values = np.array([[0.1, 0.5, 0.3], [0.9, 0.7, 0.2]])
    estimate = statistics.stratified_bootstrap(values, lambda values: values.mean(axis=-1), replicates=20_000)
    expected = np.sqrt((values.var(axis=1, ddof=1) / 3).sum()) / 2
    assert estimate.error == pytest.approx(expected, rel=0.02)
    by_stratum = values.var(axis=1, ddof=1)
    assert estimate.freedom == pytest.approx(2 * by_stratum.sum() ** 2 / (by_stratum**2).sum(), rel=0.05)


def test_wilson_by_hand():
    share, low, high = statistics.wilson([[True, False], [True, False], [True, False]])
    assert share.tolist() == [1, 0]
    z2 = stats.norm.ppf(0.975) ** 2
    assert low.tolist() == pytest.approx([3 / (3 + z2), 0])
    assert high.tolist() == pytest.approx([1, z2 / (3 + z2)])


@pytest.mark.parametrize("runs", [3, 5, 10, 30])
def test_coverage_of_a_proportion(runs):
    rng = np.random.default_rng(0)
    truth = rng.uniform(0.02, 0.98, size=20_000)
    _, low, high = statistics.wilson(rng.random((runs, len(truth))) < truth)
    assert 0.93 < np.mean((low <= truth) & (truth <= high)) < 0.97


def test_holm_by_hand():
    assert statistics.holm([0.01, 0.04, 0.03]).tolist() == pytest.approx([0.03, 0.06, 0.06])
    assert statistics.holm([0.9, np.nan, 0.8]).tolist() == pytest.approx([1, np.nan, 1], nan_ok=True)


def test_holm_keeps_the_family_wise_error():
    p_values = np.random.default_rng(0).uniform(size=(TRIALS, 8))
    errors = np.mean([statistics.holm(p).min() <= 0.05 for p in p_values])
    assert 0.035 < errors < 0.065


def test_p_values_agree_with_a_t_test_and_with_the_interval():
    values = np.random.default_rng(1).normal(0.5, 1, size=6)
    estimate = statistics.mean(values)
    assert estimate.p_value(0.1, "greater") == pytest.approx(
        stats.ttest_1samp(values, 0.1, alternative="greater").pvalue
    )
    assert estimate.p_value(0.1, "less") == pytest.approx(stats.ttest_1samp(values, 0.1, alternative="less").pvalue)
    low, _ = estimate.interval()
    assert estimate.p_value(float(low), "greater") == pytest.approx(0.025)


def test_a_difference_of_independent_means_is_welchs():
    ours, theirs = np.random.default_rng(0).normal(0, [[1], [3]], size=(2, 8))
    expected = stats.ttest_ind(ours, theirs[:5], equal_var=False)
    found = statistics.difference(statistics.mean(ours), statistics.mean(theirs[:5]))
    assert found.two_sided_p_value() == pytest.approx(expected.pvalue)
    assert found.interval() == pytest.approx(tuple(expected.confidence_interval()))
