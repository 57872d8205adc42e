"""One run's operating points: chosen on validation, reported on test."""

from dataclasses import dataclass

import numpy as np

#: The compute over which the area under a curve is taken, in units of the reference's MACs. It does not depend on what
#: else is in the grid, so a method's area does not change when another one is added.
AREA_RANGE = (1 / 8, 2.0)


def middle_point(macs: np.ndarray) -> int:
    """Which operating point is nearest to the middle of the compute that all of them span; ties go to the cheapest."""
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

    def best(self, budget: float = np.inf) -> int | None:
        """The operating point of highest validation accuracy within a budget of MACs; None if none fits."""
        # argmax takes the first of several maxima, which is the cheapest.
        fitting = int(np.searchsorted(self.validation_macs, budget, side="right"))
        return int(np.argmax(self.validation_accuracy[:fitting])) if fitting else None

    def reaching(self, accuracy: float) -> int | None:
        """The cheapest operating point whose validation accuracy is at least `accuracy`; None if none reaches it."""
        reached = np.flatnonzero(self.validation_accuracy >= accuracy)
        return int(reached[0]) if len(reached) else None

    def middle(self) -> int:
        """The operating point nearest to the middle of the compute that the curve spans on validation."""
        return middle_point(self.validation_macs)

    def largest(self) -> int:
        """The operating point that spends most on validation."""
        return len(self.validation_macs) - 1

    def area(self, reference_macs: float, floor: float) -> float:
        """The mean test accuracy over all budgets of `AREA_RANGE`, every doubling of the budget weighing the same.

        Args:
            reference_macs: the reference's MACs for a sample.
            floor: the accuracy available at no cost, used where a budget is too small for any operating point.
        """
        low, high = (share * reference_macs for share in AREA_RANGE)
        ends = np.clip(np.array([low, *self.validation_macs, high]), low, high)
        # Which point is best changes only at the budgets at which another one begins to fit.
        bests = [floor] + [self.accuracy[np.argmax(self.validation_accuracy[: n + 1])] for n in range(len(self.macs))]
        return float(np.dot(np.diff(np.log(ends)), bests) / np.log(high / low))
