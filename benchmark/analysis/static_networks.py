"""What static networks reach: the best of them, and the frontier that mixtures of them make."""

from typing import Literal

import numpy as np

from benchmark.analysis.curves import Curve
from benchmark.analysis.mixtures import best_mixture, envelope
from benchmark.analysis.outcomes import Outcomes
from benchmark.analysis.statistics import Estimate, nested_difference


def complete(outcomes: Outcomes, dataset: str) -> list[str]:
    """The static networks of which no seed is missing on a dataset."""
    return [method for method in outcomes.static_methods if all(outcomes.curves(dataset, method))]


def best_static(outcomes: Outcomes, dataset: str) -> str:
    """The static network that others are compared with: the most accurate on validation, averaged over seeds.

    Ties go to the cheapest. Where no static network has all its seeds, the configuration's reference.
    """
    candidates = complete(outcomes, dataset)
    if not candidates:
        return outcomes.reference

    def rank(method: str) -> tuple[float, float]:
        return _mean(outcomes, dataset, method, "validation_accuracy"), -_mean(outcomes, dataset, method, "macs")

    return max(candidates, key=rank)


def _mean(outcomes: Outcomes, dataset: str, method: str, column: str) -> float:
    """The mean of a column over seeds, none of which is missing."""
    return float(np.mean(np.array(outcomes.at_best(dataset, method, column), float)))


class Frontier:
    """The best that mixtures of static networks reach at any compute.

    It is the upper concave envelope, over MACs, of the accuracies of all static networks that miss no seed, chosen on
    validation and measured on test: between two networks a coin decides, sample by sample, which of them answers; past
    the most accurate one it is flat. Below its cheapest network there is no frontier.

    Attributes:
        methods: the static networks, [networks].
        chosen: those of which the envelope is made, the cheapest first, indices [chosen].
        macs: their mean test MACs, [networks].
        correct: whether each test sample was right, float [networks, seeds, samples].
    """

    def __init__(self, outcomes: Outcomes, dataset: str) -> None:
        self._outcomes, self._dataset = outcomes, dataset
        self.methods = complete(outcomes, dataset)
        columns = ("macs", "validation_macs", "validation_accuracy")
        means = [[_mean(outcomes, dataset, method, column) for column in columns] for method in self.methods]
        self.macs, self._chosen_macs, self._chosen_accuracy = np.array(means).reshape(-1, len(columns)).T
        self.chosen = envelope(self._chosen_macs, self._chosen_accuracy)
        right = [outcomes.correct(dataset, method, outcomes.best(dataset, method)) for method in self.methods]
        self.correct = np.array(right, float)

    def shares(self, macs: np.ndarray) -> np.ndarray:
        """How the networks are mixed at test MACs [places]: [places, networks]; NaN below the cheapest."""
        return best_mixture(self._chosen_macs, self._chosen_accuracy, self.macs, macs)

    def validation_margins(self, curve: Curve) -> np.ndarray:
        """How far each operating point of a curve lies above the frontier on validation: [points]."""
        shares = best_mixture(self._chosen_macs, self._chosen_accuracy, self._chosen_macs, curve.validation_macs)
        return np.asarray(curve.validation_accuracy - shares @ self._chosen_accuracy)

    def margin(
        self, method: str, where: Literal["average", "best", "worst"] = "average"
    ) -> tuple[Estimate, float] | None:
        """How far a method's curve lies above the frontier on test, and the mean MACs at which.

        At those of its operating points that cost at least as much as the cheapest network of the frontier: averaged
        over them ("average"), or at each seed's point that lies highest ("best") or lowest ("worst") on validation.
        None where a run is missing, there is no frontier, or a seed has no such point.
        """
        outcomes, dataset = self._outcomes, self._dataset
        curves = [curve for curve in outcomes.curves(dataset, method) if curve is not None]
        if not self.methods or len(curves) < len(outcomes.seeds):
            return None
        weights, macs, right = [], [], []
        for seed, curve in zip(outcomes.seeds, curves, strict=True):
            shares = self.shares(curve.macs)
            points = np.flatnonzero(np.isfinite(shares).all(axis=1))
            if not len(points):
                return None
            if where != "average":
                margins = self.validation_margins(curve)[points]
                points = points[[np.nanargmax(margins if where == "best" else -margins)]]
            weights.append(shares[points].mean(axis=0))
            macs.append(curve.macs[points].mean())
            right.append(outcomes.right(dataset, method, seed, curve.operating_points[points]).mean(axis=0))
        mean_weights = np.mean(weights, axis=0)
        # The seeds spend unequal compute: each is compared with the frontier at its own.
        standards = (np.array(weights) - mean_weights) @ self.correct.mean(axis=(1, 2))
        theirs = np.tensordot(mean_weights, self.correct, axes=1)
        return nested_difference(np.array(right) - standards[:, None], theirs), float(np.mean(macs))
