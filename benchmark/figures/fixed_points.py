"""Fixed points: what solvers and gradients cost and reach.

Layers that are solved to the tolerance of training, on the test split. Converged: samples whose layers all end at a
relative residual of 1e-2 or less. Held: answers that stay the same when every sample iterates four times as long as the
cap. Evaluations of a cell for one sample. Time and peak memory of a training step and of inference are multiples of the
reference's, measured in the same process on the same batch. Large markers are means over seeds, bars their 95%
intervals, small points single seeds.
"""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmark.analysis.fixed_points import of_run
from benchmark.analysis.variants import fixed_point_methods
from benchmark.experiment.configuration import Configuration
from benchmark.figures._evidence import Evidence
from benchmark.figures._means import mean_over_seeds
from benchmark.figures._style import WIDTHS, Style, shares

SHARES = {"converged": "converged (%)", "held": "held (%)", "accuracy": "test accuracy (%)"}
EVALUATIONS = "evaluations of a cell"
RATIOS = {
    ("training", "time_ratio"): "time of a training step (×)",
    ("training", "memory_ratio"): "memory of a training step (×)",
    ("inference", "time_ratio"): "time of inference (×)",
    ("inference", "memory_ratio"): "memory of inference (×)",
}
QUANTITIES = (*SHARES.values(), EVALUATIONS, *RATIOS.values())


def applies(configuration: Configuration) -> bool:
    """Where two methods or more are solved for fixed points."""
    return len(fixed_point_methods(configuration.method_kinds)) > 1


def data(evidence: Evidence) -> pd.DataFrame:
    """Each run's own values (`seed` given), and their means with intervals (`seed` missing)."""
    titles = SHARES | {"evaluations": EVALUATIONS}
    methods = set(fixed_point_methods(evidence.configuration.method_kinds))
    rows = [
        (run.dataset, run.method, titles[name], run.seed, value)
        for run in evidence.configuration.runs()
        if run.method in methods
        for name, value in of_run(evidence.outcomes, run.dataset, run.method, run.seed).items()
    ]
    finished = {row[:2] + row[3:4] for row in rows}
    for row in evidence.run_files("resources.csv").itertuples():
        if (row.dataset, row.method, row.seed) in finished:
            rows += [
                (row.dataset, row.method, title, row.seed, getattr(row, column))
                for (work, column), title in RATIOS.items()
                if row.work == work
            ]
    seeds = pd.DataFrame(rows, columns=["dataset", "method", "quantity", "seed", "value"])
    if seeds.empty:
        return seeds
    means = mean_over_seeds(seeds, ["dataset", "method", "quantity"], "value")
    table = pd.concat([means, seeds]).astype({"seed": "Int64"})
    order = {title: place for place, title in enumerate(QUANTITIES)}
    table = table.sort_values("quantity", key=lambda column: column.map(order), kind="stable")
    return evidence.outcomes.presented(table)


def draw(data: pd.DataFrame, style: Style) -> Figure:
    """A panel for each quantity, with a row for each method."""
    several = len(data["dataset"].unique()) > 1
    by = ["dataset", "quantity"] if several else ["quantity"]
    # Which method lacks seeds is said in its row, not above the panels.
    data = data.sort_values("quantity", key=lambda column: column.map(QUANTITIES.index), kind="stable")
    figure, panels = style.panels(data.drop(columns="planned"), by=by, per_row=4, sharey="row")
    methods = list(dict.fromkeys(data["method"]))
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
        panel.plot(mean["value"], [place] * len(mean), label=method, zorder=4, **look)
        panel.hlines([place] * len(mean), mean["low"], mean["high"], color=look["color"], linewidth=0.9, zorder=2)
    if data["quantity"].iloc[0] in SHARES.values():
        shares(panel.xaxis)
        low = data["value"].min()
        panel.set_xlim(low - 0.15 * (1 - low) - 0.002, 1 + 0.05 * (1 - low) + 0.001)
    else:
        panel.set_xlim(0, 1.1 * data["value"].max())
    panel.grid(visible=False, axis="y")
