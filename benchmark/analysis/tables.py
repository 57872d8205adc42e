"""The tables of an experiment.

Every number is a mean over all expected seeds with its 95% interval.  Where a seed has no value, the cell shows how
many seeds have one.
"""

import math
from collections.abc import Callable

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

#: Shares of the reference's MACs.
BUDGETS = (0.25, 0.5, 0.75, 1.0)
ALL_DATASETS = "all datasets"

ACCURACY = Metric("accuracy (%)", percent, SHARE)
AREA = Metric("area under the curve (%)", percent, SHARE)
MACS = Metric("MACs", significant, AMOUNT)
RELATIVE_MACS = Metric("MACs (% of reference)", percent, AMOUNT)


def make(outcomes: Outcomes) -> list[Table]:
    """All tables that have a row.

    A table is named like the function below that fills it, and that function's docstring is its caption.
    """
    tables = []
    for maker in MAKERS:
        metrics, cells = maker(outcomes)
        if cells:
            tables.append(Table(maker.__name__, " ".join((maker.__doc__ or "").split()), metrics, cells))
    return tables


Filled = tuple[dict[str, Metric], Cells]


def main_results(outcomes: Outcomes) -> Filled:
    """Test accuracy and mean MACs of a sample, each run at its operating point of highest validation accuracy.

    Brackets hold 95% intervals: over seeds, and for differences, which are paired by seed and sample, over seeds and
    samples. p is two-sided, for no difference, by Holm's method for all methods on a dataset.
    """
    cells: Cells = {}
    for dataset in outcomes.datasets:
        for method in outcomes.methods:
            macs = Cell.of(outcomes.at_best(dataset, method, "macs"))
            row = {"accuracy": Cell.of(outcomes.at_best(dataset, method, "accuracy")), "macs": macs}
            row["relative_macs"] = _in_units(macs, outcomes.reference_macs(dataset))
            if method != outcomes.reference:
                row["difference"] = _difference(outcomes, dataset, method, outcomes.reference)
            cells[dataset, method] = row
        _add_holm([cells[dataset, method] for method in outcomes.methods])
    difference = Metric("difference to reference (points)", points, DIFFERENCE)
    p = Metric("p (Holm)", probability)
    return {"accuracy": ACCURACY, "difference": difference, "p": p, "macs": MACS, "relative_macs": RELATIVE_MACS}, cells


def _in_units(macs: Cell, unit: float) -> Cell:
    """A cell in units of the reference's MACs; a hole where there is no reference."""
    if macs.estimate is None or math.isnan(unit):
        return Cell(None, 0 if math.isnan(unit) else macs.seeds, macs.expected)
    found = macs.estimate
    return Cell(Estimate(found.value / unit, found.error / unit, found.freedom), macs.seeds, macs.expected)


def _difference(outcomes: Outcomes, dataset: str, ours: str, theirs: str) -> Cell:
    """Test accuracy of `ours` less that of `theirs`, each at its best point, paired by seed and sample."""
    correct = (outcomes.correct(dataset, method, outcomes.best(dataset, method)) for method in (ours, theirs))
    return Cell.of_pairs(*correct)


def _add_holm(rows: list[dict[str, Cell]]) -> None:
    """Give each row that has a difference the p-value of none, adjusted for all of them."""
    differences = {i: row["difference"] for i, row in enumerate(rows) if "difference" in row}
    estimates = {i: cell.estimate for i, cell in differences.items() if cell.estimate is not None}
    p_values = statistics.holm([estimate.two_sided_p_value() for estimate in estimates.values()])
    adjusted = dict(zip(estimates, p_values, strict=True))
    for i, cell in differences.items():
        estimate = Estimate(adjusted[i], math.nan, 1) if i in adjusted and not math.isnan(adjusted[i]) else None
        rows[i]["p"] = Cell(estimate, cell.seeds, cell.expected)


def budgets(outcomes: Outcomes) -> Filled:
    """Test accuracy (%) within budgets of compute, in shares of the reference's mean MACs of a sample.

    Each run uses its operating point of highest validation accuracy among those whose mean validation MACs fit the
    budget. A dash: only so many seeds have one that fits.
    """
    metrics = {f"accuracy_at_{100 * share:.0f}": Metric(f"at {share:.0%}", percent, SHARE) for share in BUDGETS}
    cells: Cells = {}
    for dataset, method in outcomes.grid():
        unit = outcomes.reference_macs(dataset)
        row = {}
        for name, share in zip(metrics, BUDGETS, strict=True):
            # Without the reference the budget is unknown, and nothing fits it.
            fitting = outcomes.best(dataset, method, 0 if math.isnan(unit) else share * unit)
            row[name] = Cell.of(outcomes.at(dataset, method, fitting, "accuracy"))
        cells[dataset, method] = row
    return metrics, cells


def equal_accuracy(outcomes: Outcomes) -> Filled:
    """Mean MACs of a sample at the reference's accuracy.

    Each run uses its cheapest operating point whose validation accuracy is at least that of the reference of the same
    seed. A dash: only so many seeds reach it.
    """
    cells: Cells = {}
    for dataset, method in outcomes.grid():
        if method == outcomes.reference:
            continue
        reaching = outcomes.reaching_reference(dataset, method)
        macs = Cell.of(outcomes.at(dataset, method, reaching, "macs"))
        cells[dataset, method] = {
            "macs": macs,
            "relative_macs": _in_units(macs, outcomes.reference_macs(dataset)),
            "accuracy": Cell.of(outcomes.at(dataset, method, reaching, "accuracy")),
        }
    accuracy = Metric("test accuracy there (%)", percent, SHARE)
    return {"macs": MACS, "relative_macs": RELATIVE_MACS, "accuracy": accuracy}, cells


def area(outcomes: Outcomes) -> Filled:
    """Area under the curve: the mean test accuracy over all budgets from 1/8 to 2 times the reference's MACs.

    Every doubling of the budget weighs the same. Operating points are chosen on validation; a budget too small for any
    of them gives the share of the most frequent class.
    """
    return {"area": AREA}, {key: {"area": Cell.of(outcomes.areas(*key))} for key in outcomes.grid()}


def controls(outcomes: Outcomes) -> Filled:
    """What an agent's choices are worth: its test accuracy less that of a control at equal compute, in points.

    The difference is averaged over the agent's operating points within the compute that the control's span; between
    two of its own, the control tosses a coin. Intervals are over seeds and samples. A dash: only for so many seeds do
    the two overlap.
    """
    policies = [policy for policy in outcomes.policies if policy not in ("own", "never")]
    cells: Cells = {}
    for dataset, method in outcomes.grid():
        row = {
            policy: Cell.of_samples(outcomes.advantages(dataset, method, policy))
            for policy in policies
            if any(outcomes.curves(dataset, method, policy))
        }
        if row:
            cells[dataset, method] = row
    return {policy: Metric(f"over {policy}", points, DIFFERENCE) for policy in policies}, cells


def ablations(outcomes: Outcomes) -> Filled:
    """Variants of DynaLay against DynaLay itself, each run at its operating point of highest validation accuracy.

    Differences of accuracy are paired by seed and sample, those of areas under the curve by seed.
    """
    cells: Cells = {}
    variants = outcomes.of_kind("dynalay")
    for dataset in outcomes.datasets if len(variants) > 1 else ():
        full = outcomes.areas(dataset, variants[0])
        for variant in variants:
            areas = outcomes.areas(dataset, variant)
            row = {name: Cell.of(outcomes.at_best(dataset, variant, name)) for name in ("accuracy", "macs")}
            row["area"] = Cell.of(areas)
            if variant != variants[0]:
                row["difference"] = _difference(outcomes, dataset, variant, variants[0])
                lost = [None if a is None or b is None else a - b for a, b in zip(areas, full, strict=True)]
                row["area_difference"] = Cell.of(lost)
            cells[dataset, variant] = row
    differences = {
        "difference": Metric("difference to DynaLay (points)", points, DIFFERENCE),
        "area_difference": Metric("difference of areas (points)", points, DIFFERENCE),
    }
    return {"accuracy": ACCURACY, "macs": MACS, "area": AREA, **differences}, cells


def overall(outcomes: Outcomes) -> Filled:
    """All datasets together: mean and interquartile mean (IQM) of the test accuracy of all runs, and the mean area.

    Each run is taken at its operating point of highest validation accuracy. Intervals by a bootstrap of seeds within
    datasets; a hole counts the runs of all datasets.
    """

    def together(values: list[list[float | None]], statistic: Callable[[np.ndarray], np.ndarray]) -> Cell:
        shape = (len(values), len(outcomes.seeds))
        flat = [value for row in values for value in row]
        return Cell.of(flat, lambda known: statistics.stratified_bootstrap(known.reshape(shape), statistic))

    def mean(values: np.ndarray) -> np.ndarray:
        return values.mean(axis=-1)

    cells: Cells = {}
    for method in outcomes.methods if len(outcomes.datasets) > 1 else ():
        accuracy = [outcomes.at_best(dataset, method, "accuracy") for dataset in outcomes.datasets]
        areas = [outcomes.areas(dataset, method) for dataset in outcomes.datasets]
        cells[ALL_DATASETS, method] = {
            "mean": together(accuracy, mean),
            "iqm": together(accuracy, statistics.iqm),
            "area": together(areas, mean),
        }
    mean_accuracy, iqm = (Metric(title, percent, SHARE) for title in ("mean accuracy (%)", "IQM accuracy (%)"))
    return {"mean": mean_accuracy, "iqm": iqm, "area": AREA}, cells


def training(outcomes: Outcomes) -> Filled:
    """What training one run costs: forward MACs as metered; wall time and energy on the machine that ran it."""
    metrics = {
        "parameters": Metric("parameters", significant, AMOUNT),
        "training_macs": MACS,
        "training_seconds": Metric("time (s)", significant, AMOUNT),
        "training_joules": Metric("energy (J)", significant, AMOUNT),
    }
    known = {name: metric for name, metric in metrics.items() if outcomes.runs[name].notna().any()}
    return known, {key: {name: Cell.of(outcomes.of_runs(*key, name)) for name in known} for key in outcomes.grid()}


def calibration(outcomes: Outcomes) -> Filled:
    """Expected calibration error on the test split, in 15 bins of equal width (Guo et al. 2017).

    Each run is taken at its operating point of highest validation accuracy.
    """
    metrics = {"ece": Metric("calibration error (%)", percent, SHARE)}
    return metrics, {key: {"ece": Cell.of(outcomes.at_best(*key, "ece"))} for key in outcomes.grid()}


MAKERS = (main_results, budgets, equal_accuracy, area, controls, ablations, overall, training, calibration)
