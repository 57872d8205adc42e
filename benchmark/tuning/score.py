"""What a trial is judged by: the area under its curve of validation accuracy over budgets of compute.

For a budget b, A(b) is the accuracy of the best mixture of the trial's own operating points that spends at most b on
average: the upper concave envelope of accuracy over MACs at b, and beyond its end the best accuracy. Below the cheapest
operating point nothing can be run, and A(b) is the share of the most frequent class. The score is the mean of A over
log b between two budgets:

    score = 1 / log(high / low) * integral of A(b) db / b  from low to high

so that every doubling of the budget weighs the same.
"""

from dataclasses import dataclass

import numpy as np

from benchmark.analysis.mixtures import envelope


@dataclass(frozen=True)
class Points:
    """A trial's own operating points on the validation split.

    Attributes:
        macs: mean MACs of a sample, [points].
        accuracy: [points].
        floor: the accuracy to be had at no cost, that of always answering the most frequent class.
    """

    macs: tuple[float, ...]
    accuracy: tuple[float, ...]
    floor: float


def score(points: Points, low: float, high: float) -> float:
    """The mean over log budgets, from `low` to `high` MACs, of the accuracy that `points` reach at a budget."""
    chosen = envelope(points.macs, points.accuracy)
    macs, accuracy = np.asarray(points.macs, float)[chosen], np.asarray(points.accuracy, float)[chosen]
    ends = np.clip([low, *macs, high], low, high)
    total = points.floor * np.log(ends[1] / low) + accuracy[-1] * np.log(high / ends[-2])
    # Between two points of the envelope A(b) = a + s b, whose integral over db / b is a log b + s b.
    for place in range(len(macs) - 1):
        first, last = ends[place + 1 : place + 3]
        slope = (accuracy[place + 1] - accuracy[place]) / (macs[place + 1] - macs[place])
        level = accuracy[place] - slope * macs[place]
        total += level * np.log(last / first) + slope * (last - first)
    return float(total / np.log(high / low))
