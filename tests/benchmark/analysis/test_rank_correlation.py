import numpy as np
import pytest
from scipy import stats

from benchmark.analysis import statistics
from benchmark.analysis.rank_correlation import spearman, spearman_contributions


def test_contributions_average_to_the_correlation_and_vary_as_a_jackknife_says():
    rng = np.random.default_rng(0)
    values, other = rng.integers(0, 5, size=(1, 80)).astype(float), rng.normal(size=80)
    other += values[0] / 2
    contributions = spearman_contributions(values, other)[0]
    whole = stats.spearmanr(values[0], other)[0]
    assert spearman(values, other) == pytest.approx([whole])
    assert contributions.mean() == pytest.approx(whole)
    left_out = [stats.spearmanr(np.delete(values[0], i), np.delete(other, i))[0] for i in range(80)]
    pseudo_values = 80 * whole - 79 * np.array(left_out)
    assert np.corrcoef(contributions, pseudo_values)[0, 1] > 0.999
    assert contributions.std() == pytest.approx(pseudo_values.std(), rel=0.05)


def test_compute_that_does_not_vary_has_no_correlation():
    assert spearman(np.ones((1, 9)), np.arange(9.0)).tolist() == [0]
    assert np.isfinite(spearman_contributions(np.ones((1, 9)), np.arange(9.0))).all()


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("rho", [0.1, 0.6])
def test_coverage_over_seeds_and_samples(seeds, rho):
    """Half of what is not difficulty is the sample's own in all seeds; over seeds alone, 76% to 90% were covered."""
    rng = np.random.default_rng(seeds)
    truth = 6 / np.pi * np.arcsin(rho / 2)  # Spearman's correlation of a Gaussian pair
    covered = []
    for _ in range(800):
        difficulty, shared = rng.normal(size=(2, 300))
        slope = rho / np.sqrt(1 - rho**2) + rng.normal(0, 0.05, size=(seeds, 1))
        spent = slope * difficulty + (shared + rng.normal(size=(seeds, 300))) / np.sqrt(2)
        low, high = statistics.crossed_mean(spearman_contributions(spent, difficulty)).interval()
        covered.append(low <= truth <= high)
    assert 0.93 < np.mean(covered) < 0.97
