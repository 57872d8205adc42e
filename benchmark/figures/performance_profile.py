"""Performance profile over datasets.

The share of all runs, datasets weighing the same, whose test accuracy is at least the reference network's (mean over
its seeds, same dataset) plus the margin on the horizontal axis. Each run is taken at the operating point that was
best on its validation split among those that spend at most the reference's MACs there; a run without such a point
counts as falling short of every margin, and a method with missing runs is left out. Bands are 95% intervals. Higher
is better; where lines cross, the order depends on the margin.
"""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from benchmark.analysis import statistics
from benchmark.analysis.outcomes import RUN, Outcomes
from benchmark.experiment.configuration import Configuration
from benchmark.figures._evidence import Evidence
from benchmark.figures._style import Style, shares

_POINTS = 201


def applies(configuration: Configuration) -> bool:
    """Where there are several datasets, and a method beside the reference."""
    return len(configuration.datasets) > 1 and len(configuration.methods) > 1


def data(evidence: Evidence) -> pd.DataFrame:
    """The profile of each method on a grid of margins."""
    scores = margins(evidence.outcomes)
    if scores.empty:
        return scores
    finite = scores.loc[np.isfinite(scores["margin"]), "margin"]
    grid = np.linspace(min(finite.min(), -0.01), max(finite.max(), 0.01), _POINTS)
    whole = len(evidence.configuration.datasets), len(evidence.configuration.seeds)
    parts = []
    for method, runs in scores.groupby("method", sort=False):
        values = runs.pivot_table(index="dataset", columns="seed", values="margin")
        if values.shape != whole or values.isna().any(axis=None):
            continue
        share, low, high = statistics.wilson(values.to_numpy().ravel()[:, None] >= grid)
        parts.append(pd.DataFrame({"method": method, "margin": grid, "share": share, "low": low, "high": high}))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def margins(outcomes: Outcomes) -> pd.DataFrame:
    """Each run's test accuracy within the reference's compute, less the reference's; -inf where no point fits."""
    reference = outcomes.own_points[outcomes.own_points["method"] == outcomes.reference].groupby("dataset")
    budgets, standards = reference["validation_macs"].mean(), reference["accuracy"].mean()
    runs = outcomes.own_points[RUN].drop_duplicates()
    runs = runs[runs["dataset"].isin(budgets.index)]
    fitting = outcomes.chosen(lambda dataset, curve: curve.best(budgets.get(dataset, -np.inf)))
    scores = runs.merge(fitting[[*RUN, "accuracy"]], on=RUN, how="left")
    margin = scores["accuracy"] - scores["dataset"].map(standards)
    return scores[RUN].assign(margin=margin.astype(float).fillna(-np.inf))


def draw(data: pd.DataFrame, style: Style) -> Figure:
    """One panel, one line per method."""
    figure, [(panel, _)] = style.panels(data.assign(panel="all datasets"), by=["panel"])
    for method, profile in data.groupby("method", sort=False):
        look = style.look(method)
        panel.plot(profile["margin"], profile["share"], label=method, markevery=_POINTS // 8, **look)
        low, high = profile["low"].clip(0, 1), profile["high"].clip(0, 1)
        panel.fill_between(profile["margin"], low, high, color=look["color"], alpha=0.1, linewidth=0)
    panel.set_xlabel("margin to the reference's accuracy (points)")
    panel.set_ylabel("share of runs (%)")
    shares(panel.xaxis)
    shares(panel.yaxis)
    style.legend(figure, [style.handle(method) for method in data["method"].unique()])
    return figure
