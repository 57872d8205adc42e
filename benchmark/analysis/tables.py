"""The tables of an experiment.

Every number is a mean over all expected seeds with its 95% interval.  Where a seed has no value, the cell shows how
many seeds have one.
"""

import math
from collections.abc import Callable
from itertools import product

import numpy as np

from benchmark.analysis import controls as policies_of
from benchmark.analysis import departures, statistics, times
from benchmark.analysis.equal_compute import (
    area,
    budgets,
    equal_accuracy,
    equal_training,
    in_units,
    static_frontier,
)
from benchmark.analysis.fixed_points import NOTES as FIXED_POINT_NOTES
from benchmark.analysis.fixed_points import of_runs as fixed_point_notes
from benchmark.analysis.formatting import (
    ACCURACY,
    AMOUNT,
    AREA,
    DIFFERENCE,
    MACS,
    RELATIVE_MACS,
    SHARE,
    TRAINING_MACS,
    Cell,
    Cells,
    Filled,
    Metric,
    Table,
    percent,
    points,
    probability,
    significant,
)
from benchmark.analysis.mixed import ANY as ALL_DATASETS
from benchmark.analysis.mixed import marked, note
from benchmark.analysis.outcomes import Outcomes
from benchmark.analysis.static_networks import best_static
from benchmark.analysis.statistics import Estimate
from benchmark.analysis.times import latency, time_at_equal_accuracy
from benchmark.analysis.variants import variants


def make(outcomes: Outcomes) -> list[Table]:
    """All tables that have a row.

    A table is named like the function below that fills it, and that function's docstring is its caption.
    """
    tables = []
    for maker in MAKERS:
        metrics, cells = maker(outcomes)
        if cells:
            cells = marked(outcomes, cells)
            words = [(maker.__doc__ or ""), _compared(outcomes, cells), note(outcomes, cells)]
            if maker in COMPARING:
                words.append(departures.note(outcomes))
            if maker in TIMED:
                words.append(times.note(outcomes))
            tables.append(Table(maker.__name__, " ".join(" ".join(words).split()), metrics, cells))
    return tables


def _compared(outcomes: Outcomes, cells: Cells) -> str:
    """The names of the static networks that a table compares with, for its caption; nothing where it compares none."""
    compared = {(dataset, cell.against) for (dataset, _), row in cells.items() for cell in row.values()}
    best = [(dataset, best_static(outcomes, dataset)) for dataset in outcomes.datasets]
    named = [f"{name} on {dataset}" for dataset, name in best if (dataset, name) in compared]
    return f"The best static network is {', '.join(named)}." if named else ""


def main_results(outcomes: Outcomes) -> Filled:
    """Test accuracy and mean MACs of a sample, each run at its operating point of highest validation accuracy.

    Differences are to the best static network: the one of highest validation accuracy. Brackets hold 95% intervals:
    over seeds, and for differences over seeds and samples. p is two-sided, for no difference, by Holm's method for all
    methods on a dataset. Training MACs are those of the forward passes of one run.
    """
    cells: Cells = {}
    for dataset in outcomes.datasets:
        standard = best_static(outcomes, dataset)
        for method in outcomes.methods:
            macs = Cell.of(outcomes.at_best(dataset, method, "macs"))
            row = {"accuracy": Cell.of(outcomes.at_best(dataset, method, "accuracy")), "macs": macs}
            row["relative_macs"] = in_units(macs, outcomes.reference_macs(dataset))
            row["training_macs"] = Cell.of(outcomes.of_runs(dataset, method, "training_macs"))
            if method != standard:
                row["difference"] = _difference(outcomes, dataset, method, standard)
            cells[dataset, method] = row
        _add_holm([cells[dataset, method] for method in outcomes.methods])
    columns = {
        "accuracy": ACCURACY,
        "difference": Metric("difference to best static (points)", points, DIFFERENCE),
        "p": Metric("p (Holm)", probability),
        "macs": MACS,
        "relative_macs": RELATIVE_MACS,
        "training_macs": TRAINING_MACS,
    }
    return columns, cells


def _difference(outcomes: Outcomes, dataset: str, ours: str, theirs: str) -> Cell:
    """Test accuracy of `ours` less that of `theirs`, each at its best point, over seeds and samples."""
    mine, other = (outcomes.correct(dataset, method, outcomes.best(dataset, method)) for method in (ours, theirs))
    return Cell.of_methods(mine, other, against=theirs)


def _add_holm(rows: list[dict[str, Cell]]) -> None:
    """Give each row that has a difference the p-value of none, adjusted for all of them."""
    differences = {i: row["difference"] for i, row in enumerate(rows) if "difference" in row}
    estimates = {i: cell.estimate for i, cell in differences.items() if cell.estimate is not None}
    p_values = statistics.holm([estimate.two_sided_p_value() for estimate in estimates.values()])
    adjusted = dict(zip(estimates, p_values, strict=True))
    for i, cell in differences.items():
        estimate = Estimate(adjusted[i], math.nan, 1) if i in adjusted and not math.isnan(adjusted[i]) else None
        rows[i]["p"] = Cell(estimate, cell.seeds, cell.expected, cell.against)


def controls(outcomes: Outcomes) -> Filled:
    """What an agent's choices are worth: its test accuracy less that of a control at equal compute, in points.

    The difference is averaged over the agent's operating points within the compute that the control's span; between two
    of its own, the control tosses a coin. "Best blind" is the best mixture of all policies that do not look at the
    sample (fixed rounds and schedules, chance, the agent's own sequences shuffled), "best threshold" that of all
    thresholds on confidence, both chosen on validation. Intervals are over seeds and samples. A dash stands where
    the two overlap for some seeds only, and says for how many.
    """
    policies = [policy for policy in outcomes.policies if policy not in ("own", "never", "onwards")]
    groups: dict[str, list[str]] = {}
    for name, group in (("best_blind", policies_of.BLIND), ("best_threshold", policies_of.THRESHOLDS)):
        if known := [policy for policy in policies if policy in group]:
            groups[name] = known
    cells: Cells = {}
    for dataset, method in outcomes.grid():
        recorded = [policy for policy in policies if any(outcomes.curves(dataset, method, policy))]
        run = [(outcomes, dataset, method, seed) for seed in outcomes.seeds]
        row = {
            name: Cell.of_samples([policies_of.advantage_over_best(*one, group) for one in run])
            for name, group in groups.items()
            if set(group) & set(recorded)
        }
        for policy in recorded:
            row[policy] = Cell.of_samples([policies_of.advantage(*one, policy) for one in run])
        if row:
            cells[dataset, method] = row
    titles = {name: f"over {name.replace('_', ' ')}" for name in [*groups, *policies]}
    return {name: Metric(title, points, DIFFERENCE) for name, title in titles.items()}, cells


def ablations(outcomes: Outcomes) -> Filled:
    """Variants of a method against the method itself, within the reference's compute.

    Each run uses its operating point of highest validation accuracy among those that cost no more than the reference
    network. Differences of accuracy are over seeds and samples; p is two-sided, for no difference, by Holm's method for
    all variants of a method on a dataset, while an interval is of one difference by itself: near 0 the two can
    disagree, and then p decides. A dash stands where only some seeds have a point that fits, and says how many.
    """
    cells: Cells = {}
    for dataset, (base, labels) in product(outcomes.datasets, variants(outcomes.kinds).items()):
        full = Cell.of(outcomes.areas(dataset, base))
        for label in labels:
            points_of = outcomes.within_reference(dataset, label)
            row = {name: Cell.of(outcomes.at(dataset, label, points_of, name)) for name in ("accuracy", "macs")}
            row["area"] = Cell.of(outcomes.areas(dataset, label))
            if label != base:
                mine, full_method = (
                    outcomes.correct(dataset, name, outcomes.within_reference(dataset, name)) for name in (label, base)
                )
                row["difference"] = Cell.of_methods(mine, full_method, against=base)
                row["area_difference"] = Cell.of_independent(row["area"], full, against=base)
            cells[dataset, label] = row
        _add_holm([cells[dataset, label] for label in labels])
    columns = {
        "accuracy": ACCURACY,
        "difference": Metric("difference to the full method (points)", points, DIFFERENCE),
        "p": Metric("p (Holm)", probability),
        "macs": MACS,
        "area": AREA,
        "area_difference": Metric("difference of areas (points)", points, DIFFERENCE),
    }
    return columns, cells


def fixed_points(outcomes: Outcomes) -> Filled:
    """Whether layers reach their fixed points: solved to the tolerance of training, on the test split.

    "Converged" is the share of samples whose layers all end at a relative residual of 1e-2 or less; evaluations are
    those of a cell for one sample. "Held" is the share of answers that stay the same when every sample iterates four
    times as long as the cap. Training MACs are those of the forward passes of one run.
    """
    cells: Cells = {}
    found = fixed_point_notes(outcomes)
    for key in outcomes.grid():
        seeds = [found.get((*key, seed), {}) for seed in outcomes.seeds]
        if any(seeds):
            row = {name: Cell.of([each.get(name) for each in seeds]) for name in FIXED_POINT_NOTES}
            row["accuracy"] = Cell.of([each.get("accuracy") for each in seeds])
            row["training_macs"] = Cell.of(outcomes.of_runs(*key, "training_macs"))
            cells[key] = row
    columns = {
        "converged": Metric("converged (%)", percent, SHARE),
        "held": Metric("held (%)", percent, SHARE),
        "evaluations": Metric("evaluations", significant, AMOUNT),
        "accuracy": ACCURACY,
        "training_macs": TRAINING_MACS,
    }
    return columns, cells


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
    """What training one run costs: forward MACs as metered, and wall time on the machine that ran it.

    Energy stands beside them where the machine can measure it; a processor's counts whatever else ran on it.
    """
    metrics = {
        "parameters": Metric("parameters", significant, AMOUNT),
        "training_macs": TRAINING_MACS,
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


MAKERS = (
    main_results, budgets, equal_accuracy, static_frontier, area, controls, ablations, fixed_points, overall, training,
    equal_training, calibration, time_at_equal_accuracy, latency,
)  # fmt: skip
#: Tables that compare methods on a dataset, whose captions name those that are not on the common ground.
COMPARING = (main_results, budgets, equal_accuracy, static_frontier, area, equal_training)
#: Tables of measured time, whose captions name the commit that timed where it is not that of the runs.
TIMED = (time_at_equal_accuracy, latency)
