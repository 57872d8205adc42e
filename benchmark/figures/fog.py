"""Compute in fog.

What an agent, a threshold on the largest probability and fixed schedules of layers make of hidden cells: mean MACs and
test accuracy in each group of mazes, all at the same mean compute, that of the operating point in the middle of the
agent's curve. Two groups have an answer, the clear mazes and those whose hidden cells are harmless. In the other two no
computation finds it: accuracy is a half, and what is spent is wasted. Settings of the controls are chosen on validation
and mixed by a coin toss to spend what the agent spends. Points are means over seeds, bars 95% intervals of the mean.
"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmark.analysis.mixtures import best_mixture
from benchmark.analysis.outcomes import RUN
from benchmark.analysis.variants import agents
from benchmark.experiment.configuration import Configuration
from benchmark.figures._evidence import Evidence
from benchmark.figures._means import mean_over_seeds
from benchmark.figures._style import Style, counts, shares

GROUPS = ("clear", "harmless fog", "gate hidden", "endpoint hidden")
#: With two classes, a threshold on entropy is one on the largest probability.
CONTROLS = ("max_probability", "schedule")
QUANTITIES = {"macs": "MACs", "accuracy": "accuracy (%)"}


def applies(configuration: Configuration) -> bool:
    """Where a method has an agent and some mazes have fog."""
    fogged = any(parameters.get("fog") for parameters in configuration.dataset_parameters.values())
    return fogged and bool(agents(configuration))


def data(evidence: Evidence) -> pd.DataFrame:
    """Mean compute and accuracy of each policy in each group, over seeds."""
    outcomes = evidence.outcomes
    groups = evidence.of_agents(outcomes.table("groups"))
    if groups.empty:
        return groups
    chosen = outcomes.chosen(lambda _, curve: curve.middle()).set_index(RUN)["operating_point"]
    points = outcomes.points.set_index(RUN)
    parts = []
    for run, of_run in groups.groupby(RUN, sort=False):
        ordered = sorted(of_run["group"].unique(), key=_place)
        by_point = {name: of_run.pivot_table(name, "operating_point", "group")[ordered] for name in QUANTITIES}
        curves = points.loc[[run]].set_index("operating_point")
        settings = {"agent": {chosen[run]: 1.0}}
        settings |= {control: _mixed(curves, control, curves["macs"][chosen[run]]) for control in CONTROLS}
        for policy, setting in settings.items():
            for name, title in QUANTITIES.items() if setting else ():
                values = sum(share * by_point[name].loc[point] for point, share in setting.items())
                parts.append(_rows(run, policy, title, values))
    table = pd.concat(parts, ignore_index=True)
    by = ["dataset", "method", "policy", "quantity", "group"]
    return outcomes.presented(mean_over_seeds(table, by, "value"))


def _mixed(curves: pd.DataFrame, policy: str, macs: float) -> dict[str, float]:
    """The shares of a control's operating points that are best on validation and spend `macs`; none if it cannot."""
    curves = curves[curves["policy"] == policy]
    if curves.empty:
        return {}
    shares = best_mixture(curves["validation_macs"], curves["validation_accuracy"], curves["macs"], [macs])[0]
    return {point: share for point, share in zip(curves.index, shares, strict=True) if share} if shares.sum() else {}


def _rows(run: tuple[Any, ...], policy: str, quantity: str, values: pd.Series) -> pd.DataFrame:
    keys = dict(zip(RUN, run, strict=True)) | {"policy": policy, "quantity": quantity}
    return pd.DataFrame({"group": values.index, "value": values.to_numpy()}).assign(**keys)


def _place(group: str) -> int:
    return GROUPS.index(group) if group in GROUPS else len(GROUPS)


def draw(data: pd.DataFrame, style: Style) -> Figure:
    """Compute and accuracy side by side, one row per dataset."""
    figure, panels = style.panels(data, by=["dataset", "quantity"], per_row=2)
    policies = list(data["policy"].unique())
    looks = {policy: style.decider_look(policy, data["method"].iloc[0]) | {"linestyle": "none"} for policy in policies}
    for panel, shown in panels:
        groups = list(shown["group"].unique())
        for number, policy in enumerate(policies):
            mean = shown[shown["policy"] == policy]
            x = np.array([groups.index(group) for group in mean["group"]]) + 0.14 * (number - (len(policies) - 1) / 2)
            spread = [mean["value"] - mean["low"].clip(0), mean["high"] - mean["value"]]
            panel.errorbar(x, mean["value"], spread, label=policy, elinewidth=0.8, **looks[policy])
        panel.set_xticks(range(len(groups)), [group.replace(" ", "\n") for group in groups])
        if shown["quantity"].iloc[0] == QUANTITIES["macs"]:
            panel.set_ylim(bottom=0)
            counts(panel.yaxis)
        else:
            shares(panel.yaxis)
    style.legend(figure, [Line2D([], [], label=policy, **look) for policy, look in looks.items()])
    return figure
