"""Who is ahead on each dataset within a budget of compute, and who is level with the one who is."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmark.analysis import statistics
from benchmark.analysis.formatting import ACCURACY, Cell
from benchmark.analysis.outcomes import Outcomes

#: Budgets, as shares of the reference's MACs.
BUDGETS = (0.5, 0.75, 1.0)
#: A difference counts if its p-value is at most this.
ALPHA = 0.05
#: Nor is anyone level with the most accurate who is further behind than this, however wide the interval: the margin of
#: comparable accuracy in `config/claims.yaml`.
LEVEL = 0.01
#: Places of those who are most accurate, as far as can be said.
LEADING = ("first", "tie")


@dataclass(frozen=True)
class Standing:
    """A method on a dataset within a budget.

    Attributes:
        method: its label.
        share: the budget, as a share of the reference's MACs.
        accuracy: on the test split, over seeds; a hole where a seed has no point that fits.
        macs: what a test sample costs there.
        place: "first" where it alone is ahead; "tie" where it shares the lead; "open" where it is neither level
            nor shown to be behind; else "".
    """

    method: str
    share: float
    accuracy: Cell
    macs: Cell
    place: str

    def interval(self) -> tuple[float, float]:
        """The 95% interval of the accuracy; NaN where there is none."""
        return self.accuracy.interval(ACCURACY)


def standings(outcomes: Outcomes, dataset: str, share: float, methods: Sequence[str] | None = None) -> list[Standing]:
    """All methods within a budget, the most accurate first, holes last.

    Each run takes its operating point of highest validation accuracy that fits. Differences to the most accurate method
    are tested two-sided, over seeds and samples, for all methods with all their seeds. It is first if it is ahead of
    every other, by Holm's method. Otherwise those tie with it that are at most a point behind and whose own difference,
    unadjusted, is not significant, so that its 95% interval holds zero. A single seed leaves every difference open.

    Args:
        outcomes: of the experiment.
        dataset: its label.
        share: the budget, as a share of the reference's MACs.
        methods: those that compete; all by default.
    """
    chosen = {method: outcomes.within_reference(dataset, method, share) for method in methods or outcomes.methods}
    accuracy = {method: Cell.of(outcomes.at(dataset, method, points, "accuracy")) for method, points in chosen.items()}
    macs = {method: Cell.of(outcomes.at(dataset, method, points, "macs")) for method, points in chosen.items()}
    complete = [method for method, cell in accuracy.items() if cell.estimate is not None]
    places = _places(outcomes, dataset, {method: chosen[method] for method in complete}, accuracy)

    def rank(method: str) -> tuple[bool, float]:
        estimate = accuracy[method].estimate
        return (True, 0.0) if estimate is None else (False, -estimate.value)

    return [
        Standing(method, share, accuracy[method], macs[method], places.get(method, ""))
        for method in sorted(chosen, key=rank)
    ]


def _places(
    outcomes: Outcomes, dataset: str, chosen: dict[str, list[int | None]], accuracy: dict[str, Cell]
) -> dict[str, str]:
    if len(chosen) < 2:
        return {}
    leader = max(chosen, key=lambda method: accuracy[method].estimate.value)  # type: ignore[union-attr]
    right = {method: outcomes.correct(dataset, method, points) for method, points in chosen.items()}
    others = [method for method in chosen if method != leader]
    differences = [statistics.nested_difference(right[leader], right[method]) for method in others]  # type: ignore[arg-type]
    alone = [difference.two_sided_p_value() for difference in differences]
    behind = {method: accuracy[leader].estimate.value - accuracy[method].estimate.value for method in others}  # type: ignore[union-attr]
    places = {
        method: "open" if p <= ALPHA or behind[method] > LEVEL else "tie"
        for method, p, adjusted in zip(others, alone, statistics.holm(alone), strict=True)
        if not adjusted <= ALPHA
    }
    return {leader: "tie" if places else "first"} | places
