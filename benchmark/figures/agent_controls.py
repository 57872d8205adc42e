"""The agent against its controls.

Test accuracy against compute when the same trained weights are driven by the learned agent and by controls in its
place: choose at random, follow a fixed schedule of layers, give the agent's own sequences of actions to other samples,
stop at a threshold on entropy or on the largest probability, always or never iterate. Points are means over seeds at
equal compute; of fixed schedules, those on the upper envelope on validation. The bands of agent and random choice are
95% intervals of the mean accuracy, those of the others are left out. Where the agent runs no higher than the policies
that do not look at the sample, its choices are worth nothing. Panels are fitted to the points: wide bands run out of
them.
"""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmark.analysis.mixtures import envelope
from benchmark.analysis.outcomes import RUN
from benchmark.analysis.variants import agents
from benchmark.experiment.configuration import Configuration
from benchmark.figures._evidence import Evidence
from benchmark.figures._means import mean_curves
from benchmark.figures._palette import POLICIES
from benchmark.figures._style import Style, band, counts, fit, per_agent, shares, whose


def applies(configuration: Configuration) -> bool:
    """Where a method has an agent."""
    return bool(agents(configuration))


def data(evidence: Evidence) -> pd.DataFrame:
    """The mean curve of each policy."""
    points = evidence.of_agents(evidence.outcomes.points)
    if points.empty:
        return points
    points = points.assign(policy=points["policy"].replace("own", "agent"))
    schedules = points["policy"] == "schedule"
    parts = [points[~schedules], *(_enveloped(run) for _, run in points[schedules].groupby(RUN, sort=False))]
    points = pd.concat(parts).sort_values("policy", key=lambda policy: policy.map(_place), kind="stable")
    return evidence.outcomes.presented(mean_curves(points, ["dataset", "method", "policy"], "macs"))


def _enveloped(run: pd.DataFrame) -> pd.DataFrame:
    """The operating points of a run on the upper envelope of validation accuracy over MACs."""
    return run.iloc[envelope(run["validation_macs"], run["validation_accuracy"])]


def _place(policy: str) -> int:
    order = ["agent", *POLICIES]
    return order.index(policy) if policy in order else len(order)


def draw(data: pd.DataFrame, style: Style) -> Figure:
    """One panel per dataset."""
    figure, panels = style.panels(data, by=per_agent(data))
    for panel, shown in panels:
        for policy, mean in shown.groupby("policy", sort=False):
            look = style.decider_look(policy, mean["method"].iloc[0])
            above = 4 if policy == "agent" else 3  # where they coincide
            panel.plot(mean["macs"], mean["accuracy"], label=policy, zorder=above, **look)
            if policy in ("agent", "random"):
                band(panel, mean["macs"], mean, look)
        fit(panel, shown["accuracy"])
        counts(panel.xaxis)
        shares(panel.yaxis)
    figure.supxlabel(f"MACs per sample{whose(data)}")
    figure.supylabel("test accuracy (%)")
    policies = data["policy"].unique()
    method = data["method"].iloc[0]
    style.legend(figure, [Line2D([], [], label=policy, **style.decider_look(policy, method)) for policy in policies])
    return figure
