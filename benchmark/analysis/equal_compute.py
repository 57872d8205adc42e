"""Tables that compare methods at equal compute, of testing or of training, or at equal accuracy."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from benchmark.analysis.curves import Curve
from benchmark.analysis.formatting import (
    AMOUNT,
    AREA,
    DIFFERENCE,
    MACS,
    RELATIVE_MACS,
    SHARE,
    Cell,
    Cells,
    Filled,
    Metric,
    percent,
    points,
    significant,
)
from benchmark.analysis.outcomes import Outcomes
from benchmark.analysis.static_networks import Frontier, best_static
from benchmark.analysis.statistics import Estimate

#: Shares of the reference's MACs.
BUDGETS = (0.25, 0.5, 0.75, 1.0)
#: Shares of the training MACs of the best static network.
TRAINING_BUDGETS = (0.25, 0.5, 1.0)


def in_units(macs: Cell, unit: float) -> Cell:
    """A cell in units of the reference's MACs; a hole where there is no reference."""
    if macs.estimate is None or math.isnan(unit):
        return Cell(None, 0 if math.isnan(unit) else macs.seeds, macs.expected)
    found = macs.estimate
    return Cell(Estimate(found.value / unit, found.error / unit, found.freedom), macs.seeds, macs.expected)


def budgets(outcomes: Outcomes) -> Filled:
    """Test accuracy (%) within budgets of compute, in shares of the reference's mean MACs of a sample.

    Each run uses its operating point of highest validation accuracy among those whose mean validation MACs fit the
    budget. A dash stands where only some seeds have one that fits, and says how many.
    """
    metrics = {f"accuracy_at_{100 * share:.0f}": Metric(f"at {share:.0%}", percent, SHARE) for share in BUDGETS}
    cells: Cells = {}
    for dataset, method in outcomes.grid():
        row = {}
        for name, share in zip(metrics, BUDGETS, strict=True):
            fitting = outcomes.within_reference(dataset, method, share)
            row[name] = Cell.of(outcomes.at(dataset, method, fitting, "accuracy"))
        cells[dataset, method] = row
    return metrics, cells


def equal_accuracy(outcomes: Outcomes) -> Filled:
    """Mean MACs of a sample at the accuracy of the best static network.

    Each run uses its cheapest operating point whose validation accuracy is at least that of the static network,
    averaged over its seeds. A dash stands where only some seeds reach it, and says how many.
    """
    cells: Cells = {}
    for dataset, method in outcomes.grid():
        standard = best_static(outcomes, dataset)
        if method == standard:
            continue
        reaching = outcomes.reaching(dataset, method, standard)
        macs = Cell.of(outcomes.at(dataset, method, reaching, "macs"))
        row = {"macs": macs, "relative_macs": in_units(macs, outcomes.reference_macs(dataset))}
        row["accuracy"] = Cell.of(outcomes.at(dataset, method, reaching, "accuracy"))
        cells[dataset, method] = {name: replace(cell, against=standard) for name, cell in row.items()}
    accuracy = Metric("test accuracy there (%)", percent, SHARE)
    return {"macs": MACS, "relative_macs": RELATIVE_MACS, "accuracy": accuracy}, cells


def equal_training(outcomes: Outcomes) -> Filled:
    """Validation accuracy (%) at equal training compute, in shares of the training MACs of the best static network.

    The highest validation accuracy of any epoch by which a run had spent no more than that on forward passes. Learning
    rates are scheduled for the whole training, so a run that is cut short is worse than one planned to be as short. A
    dash stands where only some seeds have an epoch that fits, and says how many.
    """
    names = {f"accuracy_at_{100 * share:.0f}": share for share in TRAINING_BUDGETS}
    metrics = {name: Metric(f"at {share:.0%}", percent, SHARE) for name, share in names.items()}
    history = outcomes.table("history")
    cells: Cells = {}
    for dataset, method in outcomes.grid() if {"training_macs", "validation_accuracy"} <= set(history) else ():
        standard = best_static(outcomes, dataset)
        known = [macs for macs in outcomes.of_runs(dataset, standard, "training_macs") if macs is not None]
        unit = float(np.mean(known)) if known else math.nan
        mine = history[(history["dataset"] == dataset) & (history["method"] == method)]
        row = {}
        for name, share in names.items():
            fitting = mine[mine["training_macs"] <= share * unit * (1 + 1e-9)]
            reached = fitting.groupby("seed")["validation_accuracy"].max().to_dict()
            row[name] = replace(Cell.of([reached.get(seed) for seed in outcomes.seeds]), against=standard)
        cells[dataset, method] = row
    return metrics, cells


def static_frontier(outcomes: Outcomes) -> Filled:
    """How far adaptive methods lie above the frontier of static networks at equal MACs, in points of test accuracy.

    The frontier is the upper concave envelope, over MACs, of all static networks that miss no seed: between two of them
    a coin decides, sample by sample, which one answers; past the most accurate it is flat. Averaged over a method's
    operating points that cost at least as much as the cheapest static network, and where the method lies highest and
    lowest on validation. Intervals are over seeds and samples.
    """
    cells: Cells = {}
    frontiers = {dataset: Frontier(outcomes, dataset) for dataset in outcomes.datasets}
    for dataset, method in outcomes.grid():
        if method in outcomes.static_methods:
            continue
        row = {}
        seeds, expected = _seeds_within(frontiers[dataset], outcomes.curves(dataset, method)), len(outcomes.seeds)
        for where in ("average", "best", "worst"):
            found = frontiers[dataset].margin(method, where)
            row[where] = Cell(None, seeds, expected) if found is None else Cell(found[0], expected, expected)
            if where != "average" and found is not None:
                row[f"{where}_macs"] = Cell(Estimate(found[1], math.nan, 1), expected, expected)
        cells[dataset, method] = row
    columns = {
        "average": Metric("on average (points)", points, DIFFERENCE),
        "best": Metric("highest (points)", points, DIFFERENCE),
        "best_macs": Metric("highest at (MACs)", significant, AMOUNT),
        "worst": Metric("lowest (points)", points, DIFFERENCE),
        "worst_macs": Metric("lowest at (MACs)", significant, AMOUNT),
    }
    return columns, cells if any(found["average"].estimate is not None for found in cells.values()) else {}


def _seeds_within(frontier: Frontier, curves: Sequence[Curve | None]) -> int:
    """How many curves have an operating point that costs at least as much as the frontier's cheapest network."""
    cheapest = min(frontier.macs, default=math.inf)
    return sum(curve is not None and curve.macs.max() >= cheapest for curve in curves)


def area(outcomes: Outcomes) -> Filled:
    """Area under the curve: the mean test accuracy over all budgets from 1/8 to 2 times the reference's MACs.

    Every doubling of the budget weighs the same. Operating points are chosen on validation; a budget too small for any
    of them gives the share of the most frequent class.
    """
    return {"area": AREA}, {key: {"area": Cell.of(outcomes.areas(*key))} for key in outcomes.grid()}
