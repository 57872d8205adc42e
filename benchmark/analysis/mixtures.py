"""Policies made of others by a coin toss for each sample: what lies between operating points can really be run.

A coin decides, sample by sample, which of two settings is used.  So whatever is averaged over samples is linear in MACs
between the two.
"""

import numpy as np
from numpy.typing import ArrayLike


def mixture(macs: ArrayLike, grid: ArrayLike) -> np.ndarray:
    """How to mix neighbouring operating points so that, on average, they spend the compute of `grid`.

    Args:
        macs: mean MACs of each operating point, [points], in any order; points of equal compute count as their mean.
        grid: MACs, [places].

    Returns:
        The share of each operating point at each place, [places, points]; NaN beyond the cheapest and the most
        expensive.
    """
    distinct, inverse, counts = np.unique(np.asarray(macs, float), return_inverse=True, return_counts=True)
    places = np.asarray(grid, float)
    of_distinct = [np.interp(places, distinct, one, left=np.nan, right=np.nan) for one in np.eye(len(distinct))]
    return (np.stack(of_distinct, axis=-1) / counts)[..., inverse]


def envelope(macs: ArrayLike, accuracy: ArrayLike) -> np.ndarray:
    """The points of the upper concave envelope of accuracy over MACs, the cheapest first: indices [chosen].

    These are the points of which the best mixtures are made. The envelope only rises: it ends at the most accurate
    point, the cheapest of those.
    """
    macs, accuracy = np.asarray(macs, float), np.asarray(accuracy, float)
    chosen: list[int] = []
    for point in np.lexsort((-accuracy, macs)):
        if chosen and accuracy[point] <= accuracy[chosen[-1]]:
            continue
        while len(chosen) > 1 and not _bends_down(macs, accuracy, chosen[-2], chosen[-1], point):
            chosen.pop()
        if len(chosen) == 1 and macs[chosen[0]] == macs[point]:
            chosen.pop()
        chosen.append(int(point))
    return np.array(chosen)


def _bends_down(macs: np.ndarray, accuracy: np.ndarray, first: int, middle: int, last: int) -> bool:
    """Whether `middle` lies above the chord from `first` to `last`."""
    run, rise = macs[last] - macs[first], accuracy[last] - accuracy[first]
    return bool((accuracy[middle] - accuracy[first]) * run > rise * (macs[middle] - macs[first]))


def best_mixture(chosen_macs: ArrayLike, chosen_accuracy: ArrayLike, macs: ArrayLike, grid: ArrayLike) -> np.ndarray:
    """How to mix operating points so that accuracy is highest at the compute of `grid`, chosen on other samples.

    The points of the envelope are chosen on `chosen_macs` and `chosen_accuracy` (of validation, say), and mixed so that
    they spend `grid` as `macs` (of test) counts. A budget beyond the most accurate point is not spent.

    Args:
        chosen_macs: [points], by which the envelope is drawn.
        chosen_accuracy: [points], likewise.
        macs: [points], in which `grid` is measured.
        grid: [places].

    Returns:
        Shares [places, points]; NaN where a place is below the cheapest point of the envelope.
    """
    macs, places = np.asarray(macs, float), np.asarray(grid, float)
    chosen = envelope(chosen_macs, chosen_accuracy)
    shares = np.zeros((len(places), len(macs)))
    shares[:, chosen] = mixture(macs[chosen], np.minimum(places, macs[chosen].max()))
    return shares
