"""Fixed points: what solvers and gradients cost and reach.

Layers that are solved to the tolerance of training, on the test split. Converged: samples whose layers all end at a
relative residual of 1e-2 or less. Held: answers that stay the same when every sample iterates four times as long as the
cap. Evaluations of a cell for one sample. Time and peak memory of a training step and of inference are multiples of the
reference's, measured in the same process on the same batch; the reference itself is shown with its accuracy. Large
markers are means over seeds, bars their 95% intervals, small points single seeds.
"""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from benchmark.analysis.fixed_points import of_runs
from benchmark.analysis.variants import fixed_point_methods
from benchmark.experiment.configuration import Configuration
from benchmark.figures._evidence import Evidence
from benchmark.figures._means import mean_over_seeds
from benchmark.figures._style import WIDTHS, Style, shares

ACCURACY, EVALUATIONS = "test accuracy (%)", "evaluations of a cell"
ENDS = {"converged": "converged (%)", "held": "held (%)"}
TITLES = ENDS | {"evaluations": EVALUATIONS, "accuracy": ACCURACY}
RATIOS = {
    ("training", "time_ratio"): "training time",
    ("training", "memory_ratio"): "training memory",
    ("inference", "time_ratio"): "inference time",
    ("inference", "memory_ratio"): "inference memory",
}
QUANTITIES = (*TITLES.values(), *RATIOS.values())


def applies(configuration: Configuration) -> bool:
    """Where two methods or more are solved for fixed points."""
    return len(fixed_point_methods(configuration.method_kinds)) > 1


def data(evidence: Evidence) -> pd.DataFrame:
    """Each run's own values (`seed` given), and their means with intervals (`seed` missing)."""
    outcomes = evidence.outcomes
    methods = set(fixed_point_methods(evidence.configuration.method_kinds))
    rows = [
        (dataset, method, TITLES[name], seed, value)
        for (dataset, method, seed), found in of_runs(outcomes).items()
        if method in methods
        for name, value in found.items()
    ]
    finished = {row[:2] + row[3:4] for row in rows}
    for dataset in outcomes.datasets if finished else []:
        accuracies = outcomes.at_best(dataset, outcomes.reference, "accuracy")
        for seed, accuracy in zip(outcomes.seeds, accuracies, strict=True):
            if accuracy is not None and outcomes.reference not in methods:
                rows += [(dataset, outcomes.reference, title, seed, 1.0) for title in RATIOS.values()]
                rows.append((dataset, outcomes.reference, ACCURACY, seed, accuracy))
    for row in evidence.run_files("resources.csv").itertuples():
        if (row.dataset, row.method, row.seed) in finished:
            rows += [
                (row.dataset, row.method, title, row.seed, getattr(row, column))
                for (work, column), title in RATIOS.items()
                if row.work == work
            ]
    seeds = pd.DataFrame(rows, columns=["dataset", "method", "quantity", "seed", "value"]).dropna(subset="value")
    if seeds.empty:
        return seeds
    means = mean_over_seeds(seeds, ["dataset", "method", "quantity"], "value")
    table = pd.concat([means, seeds]).astype({"seed": "Int64"})
    return outcomes.presented(table)


def draw(data: pd.DataFrame, style: Style) -> Figure:
    """A panel for each quantity, with a row for each method."""
    several = len(data["dataset"].unique()) > 1
    by = ["dataset", "quantity"] if several else ["quantity"]
    methods = list(dict.fromkeys(data["method"]))
    data = data.sort_values("quantity", key=lambda column: column.map(QUANTITIES.index), kind="stable")
    # Which method lacks seeds is said in its row, not above the panels.
    figure, panels = style.panels(data.drop(columns="planned"), by=by, per_row=4, sharey="row")
    planned = data["planned"].max()
    seeds = data.groupby("method")["seeds"].max()
    labels = [m if seeds[m] == planned else f"{m} ({seeds[m]:.0f}/{planned})" for m in methods]
    rows = len(panels) if figure.get_figwidth() == WIDTHS["column"] else -(-len(panels) // 4)
    figure.set_figheight(rows * (0.15 * len(methods) + 0.55))
    for panel, shown in panels:
        _draw_panel(panel, shown, methods, style)
        panel.set_yticks(range(len(methods)), labels)
        panel.set_ylim(len(methods) - 0.4, -0.6)
    return figure


def _draw_panel(panel: Axes, data: pd.DataFrame, methods: list[str], style: Style) -> None:
    for method, shown in data.groupby("method"):
        place, look = methods.index(str(method)), style.look(str(method)) | {"linestyle": "none"}
        mean, seeds = shown[shown["seed"].isna()], shown[shown["seed"].notna()]
        panel.plot(seeds["value"], [place] * len(seeds), "o", color=look["color"], markersize=2, alpha=0.6, zorder=3)
        panel.plot(mean["value"], [place] * len(mean), label=method, zorder=4, clip_on=False, **look)
        panel.hlines([place] * len(mean), mean["low"], mean["high"], color=look["color"], linewidth=0.9, zorder=2)
    quantity, low, high = data["quantity"].iloc[0], data["value"].min(), data["value"].max()
    if quantity in ENDS.values():
        panel.set_xlim(min(0.9, low - 0.05), 1)
        shares(panel.xaxis)
    elif quantity == ACCURACY:
        margin = max(0.01, 0.15 * (high - low))
        panel.set_xlim(low - margin, min(1, high + margin))
        shares(panel.xaxis)
    else:
        panel.set_xlim(0, 1.1 * high)
    if quantity in RATIOS.values():
        panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
    panel.grid(visible=False, axis="y")
