"""Two result folders side by side."""

import math

import numpy as np

from benchmark.analysis import statistics
from benchmark.analysis.formatting import (
    AMOUNT,
    DIFFERENCE,
    SHARE,
    Cell,
    Cells,
    Metric,
    Table,
    percent,
    points,
    probability,
    significant,
)
from benchmark.analysis.outcomes import Outcomes
from benchmark.analysis.statistics import Estimate

CAPTION = (
    "Test accuracy and mean MACs of a sample in two result folders, A and B, each run at its operating point of "
    "highest validation accuracy. Brackets hold 95% intervals. p is two-sided, for no difference, by Holm's method "
    "over all rows. A dash stands where only some seeds have the value, and says how many."
)
METRICS = {
    "accuracy_a": Metric("accuracy A (%)", percent, SHARE),
    "accuracy_b": Metric("accuracy B (%)", percent, SHARE),
    "difference": Metric("B - A (points)", points, DIFFERENCE),
    "p": Metric("p (Holm)", probability),
    "macs_a": Metric("MACs A", significant, AMOUNT),
    "macs_b": Metric("MACs B", significant, AMOUNT),
    "macs_difference": Metric("MACs B - A", significant),
}


def compare(a: Outcomes, b: Outcomes, name: str = "comparison") -> Table:
    """The table of all datasets and methods that either has; what one of them lacks is a hole."""
    cells: Cells = {
        (dataset, method): _row(a, b, dataset, method) for dataset, method in dict.fromkeys([*a.grid(), *b.grid()])
    }
    tested = [row for row in cells.values() if row["difference"].estimate is not None]
    estimates = [row["difference"].estimate for row in tested]
    p_values = statistics.holm([estimate.two_sided_p_value() for estimate in estimates if estimate is not None])
    for row, p in zip(tested, p_values, strict=True):
        row["p"] = Cell(Estimate(p, math.nan, 1), row["difference"].seeds, row["difference"].expected)
    return Table(name, CAPTION, METRICS, cells)


def _row(a: Outcomes, b: Outcomes, dataset: str, method: str) -> dict[str, Cell]:
    macs = [side.at_best(dataset, method, "macs") for side in (a, b)]
    macs_a, macs_b = map(Cell.of, macs)
    accuracy_a, accuracy_b = (Cell.of(side.at_best(dataset, method, "accuracy")) for side in (a, b))
    if _alike(a, b, dataset):
        correct_a, correct_b = (side.correct(dataset, method, side.best(dataset, method)) for side in (a, b))
        difference = Cell.of_pairs(correct_b, correct_a)
        pairs = zip(*macs, strict=True)
        macs_difference = Cell.of([None if old is None or new is None else new - old for old, new in pairs])
    else:
        difference, macs_difference = (
            Cell.of_independent(after, before) for after, before in ((accuracy_b, accuracy_a), (macs_b, macs_a))
        )
    return {
        "accuracy_a": accuracy_a,
        "accuracy_b": accuracy_b,
        "difference": difference,
        "macs_a": macs_a,
        "macs_b": macs_b,
        "macs_difference": macs_difference,
    }


def _alike(a: Outcomes, b: Outcomes, dataset: str) -> bool:
    """Whether both have the same seeds and, as far as labels tell, the same test samples."""
    if a.seeds != b.seeds or dataset not in a.samples or dataset not in b.samples:
        return False
    return np.array_equal(a.samples[dataset]["label"], b.samples[dataset]["label"])
