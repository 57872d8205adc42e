"""Tuning: the best score so far.

The highest score of a method's trials so far, against the number of trials, one panel per dataset. The score is the
area under the curve of validation accuracy over budgets of compute. Trial 0 is the configuration without tuning, and
every method has the same number of trials. Small points are single trials. A line that still rises at the end would
gain from more trials; one that never rises says that the configuration was good already, or the search space poor.
"""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from benchmark.experiment.configuration import Configuration
from benchmark.figures._evidence import Evidence
from benchmark.figures._style import Style, fit, shares
from benchmark.tuning.table import best_so_far


def applies(configuration: Configuration) -> bool:
    """Where the experiment names tuned settings."""
    return configuration.tuned is not None


def data(evidence: Evidence) -> pd.DataFrame:
    """The score of every trial, and the best so far, by dataset and method."""
    configuration = evidence.configuration
    if configuration.tuned is None:
        return pd.DataFrame()
    course = best_so_far(configuration.tuned.content)
    planned = course["dataset"].isin(configuration.datasets) & course["method"].isin(configuration.methods)
    return course[planned].reset_index(drop=True)


def draw(data: pd.DataFrame, style: Style) -> Figure:
    """One panel per dataset, one line per method."""
    figure, panels = style.panels(data)
    for panel, shown in panels:
        for method, course in shown.groupby("method", sort=False):
            look = style.look(method)
            panel.step(course["trial"], course["best"], where="post", label=method, zorder=4, **look)
            panel.scatter(course["trial"], course["score"], s=5, color=look["color"], alpha=0.6, linewidths=0, zorder=3)
        reached = shown.dropna(subset="best")
        if len(reached):
            fit(panel, reached["best"], reached.groupby("method")["best"].max())
        panel.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
        shares(panel.yaxis)
    figure.supxlabel("trial")
    figure.supylabel("validation score so far (%)")
    style.legend(figure, [style.handle(method) for method in data["method"].unique()])
    return figure
