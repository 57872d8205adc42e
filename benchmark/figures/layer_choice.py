"""Layer choice.

What the agent chooses in each round, as shares of all test samples, at the operating point in the middle of the
method's curve; means over seeds. Samples that answered in an earlier round are the white rest of a bar. Where the
agent answered every sample at once, there is no choice to show, and the panel says so.
"""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from benchmark.analysis.outcomes import RUN
from benchmark.analysis.variants import agents
from benchmark.experiment.configuration import Configuration
from benchmark.figures._evidence import Evidence
from benchmark.figures._palette import action_look
from benchmark.figures._style import Style, action_name, per_agent, shares, whose


def applies(configuration: Configuration) -> bool:
    """Where a method has an agent."""
    return bool(agents(configuration))


def data(evidence: Evidence) -> pd.DataFrame:
    """The share of the test samples for which each action was chosen in each round: mean over seeds."""
    actions = evidence.agent_actions
    if actions.empty:
        return actions
    actions = actions.merge(
        evidence.outcomes.chosen(lambda _, curve: curve.middle())[[*RUN, "operating_point"]],
        on=[*RUN, "operating_point"],
    )
    samples = evidence.outcomes.own_points[[*RUN, "operating_point", "samples"]].rename(columns={"samples": "of"})
    actions = actions.merge(samples, on=[*RUN, "operating_point"])
    shares_of_action = mean_shares(actions, ["dataset", "method", "round"], actions["samples"] / actions["of"])
    return evidence.outcomes.presented(shares_of_action)


def mean_shares(table: pd.DataFrame, by: list[str], share: pd.Series) -> pd.DataFrame:
    """Mean over seeds of each action's share; a seed in which an action never occurs counts as 0."""
    seeds = table.groupby(by[:2], sort=False)["seed"].nunique().rename("seeds")
    total = table.assign(share=share).groupby([*by, "action"], sort=False)["share"].sum()
    means = total.reset_index().merge(seeds.reset_index(), on=by[:2])
    return means.assign(share=means["share"] / means["seeds"]).drop(columns="seeds")


def draw(data: pd.DataFrame, style: Style) -> Figure:
    """One panel per dataset, one bar per round."""
    figure, panels = style.panels(data, by=per_agent(data), sharey=True)
    actions = sorted(data["action"].unique())
    if actions == [0]:
        figure.set_figheight(0.25 * figure.get_figheight())
    for panel, shown in panels:
        if set(shown["action"]) == {0}:
            _say_that_it_never_chose(panel)
            continue
        stacked = shown.pivot_table(index="round", columns="action", values="share", fill_value=0.0)
        base = 0.0 * stacked.sum(axis=1)
        for action in stacked.columns:
            panel.bar(stacked.index, stacked[action], bottom=base, label=action_name(action), **action_look(action))
            base = base + stacked[action]
        panel.set_xticks(stacked.index)
        panel.set_xlim(0.4, data["round"].max() + 0.6)
        panel.set_ylim(0, 1)
        panel.grid(visible=False, axis="x")
        shares(panel.yaxis)
    if actions == [0]:
        return figure
    figure.supxlabel(f"round{whose(data)}")
    figure.supylabel("share of samples (%)")
    style.legend(figure, [Patch(label=action_name(action), **action_look(action)) for action in actions])
    return figure


def _say_that_it_never_chose(panel: Axes) -> None:
    """A bar that is all one colour would look like an error."""
    panel.text(0.5, 0.5, "every sample was answered at once", ha="center", va="center", transform=panel.transAxes)
    panel.set_axis_off()
