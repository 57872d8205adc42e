"""The agent against its controls.

Test accuracy against compute when the same trained weights are driven by the learned agent and by controls in its
place: choose at random, stop on low entropy, always or never iterate. Points are means over seeds; the bands of agent
and random choice are 95% intervals of the mean accuracy, those of the others are left out. Where the agent runs no
higher than random choice at the same compute, its choices are worth nothing. Panels are fitted to the points: wide
bands run out of them.
"""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmark.experiment.configuration import Configuration
from benchmark.figures._evidence import Evidence, agent_method, mean_curves
from benchmark.figures._style import Style, band, counts, fit, shares

#: The legend's order; what is recorded as a method's own policy is the agent here.
_POLICIES = ("agent", "random", "entropy", "always", "never")


def applies(configuration: Configuration) -> bool:
    """Where a DynaLay is trained."""
    return agent_method(configuration) is not None


def data(evidence: Evidence) -> pd.DataFrame:
    """The mean curve of each policy."""
    curves = evidence.of_agent(evidence.curves)
    if curves.empty:
        return curves
    curves = curves.assign(policy=curves["policy"].replace("own", "agent"))
    curves = curves.sort_values("policy", key=lambda policy: policy.map(_POLICIES.index), kind="stable")
    return evidence.presented(mean_curves(curves, ["dataset", "method", "policy"], "macs"))


def draw(data: pd.DataFrame, style: Style) -> Figure:
    """One panel a dataset."""
    figure, panels = style.panels(data)
    for panel, shown in panels:
        for policy, mean in shown.groupby("policy", sort=False):
            look = style.policy_look(policy)
            above = 4 if policy == "agent" else 3  # where they coincide
            panel.plot(mean["macs"], mean["accuracy"], label=policy, zorder=above, **look)
            if policy in ("agent", "random"):
                band(panel, mean["macs"], mean, look)
        fit(panel, shown["accuracy"])
        counts(panel.xaxis)
        shares(panel.yaxis)
    figure.supxlabel(f"MACs per sample ({data['method'].iloc[0]})")
    figure.supylabel("test accuracy (%)")
    policies = data["policy"].unique()
    style.legend(figure, [Line2D([], [], label=policy, **style.policy_look(policy)) for policy in policies])
    return figure
