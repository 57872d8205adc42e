import numpy as np
import pytest

from benchmark.analysis.mixtures import best_mixture, envelope, mixture


def test_a_mixture_spends_the_compute_asked_for_and_is_not_extended():
    macs = np.array([400, 100, 200])
    shares = mixture(macs, [50, 100, 150, 250, 400, 800])
    assert (shares @ macs).tolist() == pytest.approx([np.nan, 100, 150, 250, 400, np.nan], nan_ok=True)
    assert shares[2].tolist() == [0, 0.5, 0.5]
    assert shares[3].tolist() == [0.25, 0, 0.75]
    assert mixture([100, 100], [100]).tolist() == [[0.5, 0.5]]


def test_an_envelope_by_hand():
    # The second lies below the chord from the first to the third; the fifth costs more and is worse.
    assert envelope([1, 2, 3, 4, 5], [0.5, 0.55, 0.8, 0.9, 0.85]).tolist() == [0, 2, 3]
    assert envelope([3, 1, 1], [0.5, 0.7, 0.6]).tolist() == [1]
    assert envelope([1, 2, 3], [0.25, 0.5, 0.75]).tolist() == [0, 2]  # on the chord, it adds nothing


@pytest.mark.parametrize("seed", range(20))
def test_no_point_and_no_mixture_lies_above_the_envelope(seed):
    rng = np.random.default_rng(seed)
    macs, accuracy = rng.integers(1, 8, size=12).astype(float), rng.integers(0, 9, size=12) / 8
    shares = best_mixture(macs, accuracy, macs, macs)
    best = shares @ accuracy
    reachable = ~np.isnan(best)
    assert (best[reachable] >= accuracy[reachable] - 1e-12).all()
    assert macs[~reachable].tolist() == []  # the cheapest of all points begins the envelope
    pairs = [(i, j) for i in range(12) for j in range(12) if macs[i] < macs[j]]
    for i, j in pairs:
        middle = best_mixture(macs, accuracy, macs, [(macs[i] + macs[j]) / 2]) @ accuracy
        assert middle >= (accuracy[i] + accuracy[j]) / 2 - 1e-12


def test_a_best_mixture_is_chosen_on_one_split_and_spends_by_the_other():
    shares = best_mixture([100, 200, 300], [0.5, 0.9, 0.6], [110, 210, 310], [100, 110, 160, 900])
    assert np.isnan(shares[0, :2]).all()
    assert shares[1:].tolist() == [[1, 0, 0], [0.5, 0.5, 0], [0, 1, 0]]  # what is beyond the best is not spent
