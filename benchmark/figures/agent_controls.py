"""The agent against its controls.

Test accuracy against compute when the same trained weights are driven by the learned agent (own) and by controls in
its place: always or never iterate, choose at random, or stop on low entropy. Points are means over seeds, bands the
95% interval of the mean accuracy. Where the agent runs no higher than random choice at the same compute, its
choices are worth nothing. Panels are fitted to the points: wide bands run out of them.
"""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmark.configuration import Configuration
from benchmark.figures._evidence import Evidence, agent_method, mean_curves
from benchmark.figures._style import Style, counts, fit, shares


def applies(configuration: Configuration) -> bool:
    """Where a DynaLay is trained."""
    return agent_method(configuration) is not None


def data(evidence: Evidence) -> pd.DataFrame:
    """The mean curve of each policy."""
    curves = evidence.of_agent(evidence.curves)
    if curves.empty:
        return curves
    return evidence.presented(mean_curves(curves, ["dataset", "method", "policy"], "macs"))


def draw(data: pd.DataFrame, style: Style) -> Figure:
    """One panel a dataset."""
    figure, panels = style.panels(data)
    for panel, shown in panels:
        for policy, mean in shown.groupby("policy", sort=False):
            look = style.policy_look(policy)
            panel.plot(mean["macs"], mean["accuracy"], label=policy, **look)
            panel.fill_between(mean["macs"], mean["low"], mean["high"], color=look["color"], alpha=0.13, linewidth=0)
        fit(panel, shown["accuracy"])
        counts(panel.xaxis)
        shares(panel.yaxis)
    figure.supxlabel(f"MACs per sample ({data['method'].iloc[0]})")
    figure.supylabel("test accuracy (%)")
    policies = data["policy"].unique()
    style.legend(figure, [Line2D([], [], label=policy, **style.policy_look(policy)) for policy in policies])
    return figure
