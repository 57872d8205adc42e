"""Accuracy against compute.

Test accuracy against the mean multiply-accumulates (MACs) spent on a sample, one panel per dataset. A line joins a
method's operating points: positions are means over seeds, bands (of at most twelve lines) and the bars of static
networks are 95% intervals of the mean accuracy, and small points are single seeds, shown where there are at most fifty
runs. Grey: static networks and the frontier of the best mixtures of them (their upper concave envelope, chosen on
validation); an adaptive method is worth having where it runs above this frontier. The dotted line marks the compute of
the reference network. The panel is fitted to the points: wide intervals run out of it, and so do points far below what
every method reaches. Among more than eight methods, variants of another that are not static are left out: the
ablations compare them.
"""

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmark.analysis.static_networks import Frontier
from benchmark.experiment.configuration import Configuration
from benchmark.figures._evidence import Evidence
from benchmark.figures._means import mean_curves
from benchmark.figures._palette import STATIC
from benchmark.figures._style import Style, band, counts, few_runs, fit, shares

#: No more markers than this on a line.
MARKS = 10
#: The bands of more lines than this cover each other.
BANDS = 12
_METHOD = ["dataset", "method", "static", "reference"]


def applies(configuration: Configuration) -> bool:
    """Every experiment has accuracy and compute."""
    return True


def data(evidence: Evidence) -> pd.DataFrame:
    """Every seed's operating points (`seed` given), and their means with intervals (`seed` missing)."""
    outcomes = evidence.outcomes
    points = evidence.overlaid(outcomes.own_points)
    if points.empty:
        return points
    static, reference = points["method"].isin(outcomes.static_methods), points["method"] == outcomes.reference
    points = points.assign(static=static, reference=reference)
    seeds = points[[*_METHOD, "seed", "knob", "macs", "accuracy"]].astype({"seed": "Int64"})
    means = mean_curves(points, _METHOD, "macs")
    frontiers = {dataset: Frontier(outcomes, dataset) for dataset in outcomes.datasets}
    on_it = {(dataset, found.methods[place]) for dataset, found in frontiers.items() for place in found.chosen}
    keys = zip(means["dataset"], means["method"], strict=True)
    means = means.assign(frontier=[key in on_it for key in keys])
    return outcomes.presented(pd.concat([seeds.assign(frontier=False), means], ignore_index=True))


def draw(data: pd.DataFrame, style: Style) -> Figure:
    """One panel per dataset."""
    figure, panels = style.panels(data)
    for panel, shown in panels:
        _draw_panel(panel, shown, style)
    figure.supxlabel("MACs per sample")
    figure.supylabel("test accuracy (%)")
    static = data.loc[data["static"], "method"].unique()
    handles = [
        style.handle(method, **({"linestyle": "none"} if method in static else {}))
        for method in data["method"].unique()
    ]
    if len(static):
        handles.append(Line2D([], [], color=STATIC, linewidth=0.9, label="static frontier"))
    style.legend(figure, handles)
    return figure


def _draw_panel(panel: Axes, data: pd.DataFrame, style: Style) -> None:
    means, seeds = data[data["seed"].isna()], data[data["seed"].notna()]
    few = few_runs(seeds)
    banded = means.loc[~means["static"].astype(bool), "method"].nunique() <= BANDS
    for method, mean in means.groupby("method", sort=False):
        look, mean = style.look(method), mean.sort_values("macs")
        if mean["static"].all():
            panel.plot(mean["macs"], mean["accuracy"], label=method, zorder=5, **look | {"linestyle": "none"})
            below, above = mean["accuracy"] - mean["low"].clip(0, 1), mean["high"].clip(0, 1) - mean["accuracy"]
            panel.errorbar(
                mean["macs"], mean["accuracy"], [below, above], fmt="none", ecolor=STATIC, elinewidth=0.6, alpha=0.5
            )
        else:
            marks = math.ceil(len(mean) / MARKS)
            panel.plot(mean["macs"], mean["accuracy"], label=method, zorder=4, markevery=marks, **look)
            if banded:
                band(panel, mean["macs"], mean, look)
        if few:
            single = seeds[seeds["method"] == method]
            panel.scatter(
                single["macs"], single["accuracy"], s=5, color=look["color"], alpha=0.7, linewidths=0, zorder=3
            )
    best = means[means["frontier"]].sort_values("macs")
    if len(best):
        # It stays level: with more compute, the best static network is still to be had.
        macs = [*best["macs"], max(means["macs"].max(), best["macs"].max())]
        accuracy = [*best["accuracy"], best["accuracy"].iloc[-1]]
        panel.plot(macs, accuracy, color=STATIC, linewidth=0.9, label="static frontier", zorder=2)
    for reference in means.loc[means["reference"], "macs"]:
        panel.axvline(reference, color=STATIC, linestyle=":", linewidth=0.8, zorder=1, label="reference")
    fit(panel, data["accuracy"] if few else means["accuracy"], means.groupby("method")["accuracy"].max())
    # What lies below the panel does not widen it.
    seen = means.loc[means["accuracy"] >= panel.get_ylim()[0], "macs"]
    low, high = seen.min(), seen.max()
    if high > 30 * low:
        panel.set_xscale("log")
        panel.set_xlim(low / 1.2, high * 1.2)
    elif high > low:
        panel.set_xlim(low - 0.05 * (high - low), high + 0.05 * (high - low))
    counts(panel.xaxis)
    shares(panel.yaxis)
