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
from benchmark.experiment.configuration import Configuration
from benchmark.figures._evidence import RUN, Evidence
from benchmark.figures._style import Style, shares

_POINTS = 201


def applies(configuration: Configuration) -> bool:
    """Where there are several datasets, and a method beside the reference."""
    return len(configuration.datasets) > 1 and len(configuration.methods) > 1


def data(evidence: Evidence) -> pd.DataFrame:
    """The profile of each method on a grid of margins."""
    scores = margins(evidence)
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
        # The profile is of what lies strictly above a threshold; a margin that is just met counts as met.
        profile = statistics.performance_profile(values.to_numpy(), np.nextafter(grid, -np.inf))
        low, high = profile.interval()
        parts.append(pd.DataFrame({"method": method, "margin": grid, "share": profile.value, "low": low, "high": high}))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def margins(evidence: Evidence) -> pd.DataFrame:
    """Each run's test accuracy within the reference's compute, less the reference's; -inf where no point fits."""
    curves = evidence.summary("curves")
    if curves.empty:
        return curves
    curves = curves[curves["policy"] == "own"]
    keys = [*RUN, "operating_point"]
    validation = curves.loc[curves["split"] == "validation", [*keys, "macs", "accuracy"]]
    test = curves.loc[curves["split"] == "test", [*keys, "macs", "accuracy"]]
    both = validation.merge(test, on=keys, suffixes=("_validation", "_test"))
    of_reference = both[both["method"] == evidence.configuration.reference].groupby("dataset")
    both["budget"] = both["dataset"].map(of_reference["macs_validation"].mean())
    both["standard"] = both["dataset"].map(of_reference["accuracy_test"].mean())
    both = both.dropna(subset=["budget", "standard"])
    within = both["macs_validation"] <= both["budget"]
    both["margin"] = (both["accuracy_test"] - both["standard"]).where(within, -np.inf)
    ranked = both.sort_values(["accuracy_validation", "macs_validation"], ascending=[False, True], kind="stable")
    fitting = ranked.sort_values("margin", key=np.isneginf, kind="stable").groupby(RUN, sort=False).head(1)
    return evidence.in_order(fitting[[*RUN, "margin"]])


def draw(data: pd.DataFrame, style: Style) -> Figure:
    """One panel, one line a method."""
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
