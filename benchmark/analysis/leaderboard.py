"""Who is ahead on each dataset within a budget of compute, and who is level with the one who is."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmark.analysis import statistics
from benchmark.analysis.formatting import ACCURACY, Cell
from benchmark.analysis.outcomes import Outcomes

#: Budgets, as shares of the reference's MACs.
BUDGETS = (0.5, 0.75, 1.0)
#: Two methods tie unless their difference has at most this p-value.
ALPHA = 0.05


@dataclass(frozen=True)
class Standing:
    """A method on a dataset within a budget.

    Attributes:
        method: its label.
        share: the budget, as a share of the reference's MACs.
        accuracy: on the test split, over seeds; a hole where a seed has no point that fits.
        macs: what a test sample costs there.
        place: "first" where it alone is ahead, "tie" where it is not shown to be less accurate than the best, else "".
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

    Each run takes its operating point of highest validation accuracy that fits. A method ties with the most accurate
    one unless it is shown to be less accurate: two-sided, over seeds and samples, by Holm's method for all methods
    with all their seeds. Where a single seed leaves every difference open, nobody is first.

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
    p_values = statistics.holm([difference.two_sided_p_value() for difference in differences])
    level = [method for method, p in zip(others, p_values, strict=True) if not p <= ALPHA]
    return dict.fromkeys((leader, *level), "tie") if level else {leader: "first"}
