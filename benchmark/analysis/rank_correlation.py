"""Spearman's rank correlation, and what each sample contributes to it."""

import numpy as np
from scipy import stats


def spearman(values: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Spearman's correlation of each row of `values` with `other`; 0 where one of the two does not vary.

    Args:
        values: [rows, samples].
        other: [samples].

    Returns:
        [rows]; NaN with fewer than two samples.
    """
    if len(other) < 2:
        return np.full(len(values), np.nan)
    ours, theirs = _centred(values), _centred(other)
    scale = np.sqrt((ours**2).sum(axis=1) * (theirs**2).sum())
    return np.divide(ours @ theirs, scale, out=np.zeros(len(values)), where=scale > 0)


def spearman_contributions(values: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The correlation of each row plus each sample's influence on it, so that the mean over samples is the correlation.

    The influence is the derivative of the correlation with respect to the sample's weight (Hampel 1974): what the
    sample adds by itself, and what it adds by shifting the ranks of all others. So the spread of the contributions over
    samples is that of the correlation over other draws of the samples, whatever the distribution, ties included.

    Args:
        values: [rows, samples].
        other: [samples].

    Returns:
        [rows, samples]
    """
    correlations = spearman(values, other)
    theirs = _standardised(other)
    contributions = np.zeros(values.shape)
    for row, (value, correlation) in enumerate(zip(values, correlations, strict=True)):
        ours = _standardised(value)
        own = ours * theirs - correlation * (ours**2 + theirs**2) / 2
        shifts = _shift(value, theirs - correlation * ours) + _shift(other, ours - correlation * theirs)
        contributions[row] = own + shifts
    contributions -= contributions.mean(axis=1, keepdims=True)
    return correlations[:, None] + contributions


def _centred(values: np.ndarray) -> np.ndarray:
    ranks = stats.rankdata(values, axis=-1)
    return ranks - ranks.mean(axis=-1, keepdims=True)


def _standardised(values: np.ndarray) -> np.ndarray:
    ranks = _centred(values)
    return ranks / (ranks.std() or 1.0)


def _shift(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The mean over all samples of what sample i adds to their standardised ranks in `values`, times their `weights`.

    Sample i adds one rank to the samples above it, and half of one to those that equal it.
    """
    spread = _centred(values).std()
    if spread == 0:
        return np.zeros(len(values))
    _, inverse = np.unique(values, return_inverse=True)
    totals = np.bincount(inverse, weights)
    above = totals.sum() - np.cumsum(totals)
    return np.asarray((above + totals / 2)[inverse] / spread)
