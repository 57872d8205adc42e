"""Layer choice over training.

How the agent's sampled choices divide into layers and the direct answer, epoch by epoch, on the training split; means
over seeds. Epochs before the agent learns are left out. One colour that swallows all others is a collapsed policy.
"""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from benchmark.analysis.variants import agents
from benchmark.experiment.configuration import Configuration
from benchmark.figures._evidence import Evidence
from benchmark.figures._palette import action_look
from benchmark.figures._style import Style, action_name, draw_stack, epochs, per_agent, shares, whose


def applies(configuration: Configuration) -> bool:
    """Where a method has an agent."""
    return bool(agents(configuration))


def data(evidence: Evidence) -> pd.DataFrame:
    """The share of each action in each epoch, mean over seeds."""
    history = evidence.of_agents(evidence.outcomes.table("history"))
    columns = [column for column in history if column.startswith("choice")]
    if not columns:
        return pd.DataFrame()
    long = history.melt(["dataset", "method", "seed", "epoch"], columns, var_name="action", value_name="share")
    long["action"] = long["action"].str.removeprefix("choice").astype(int)
    means = long.dropna().groupby(["dataset", "method", "epoch", "action"], sort=False, as_index=False)["share"].mean()
    return evidence.outcomes.presented(means)


def draw(data: pd.DataFrame, style: Style) -> Figure:
    """One panel per dataset."""
    figure, panels = style.panels(data, by=per_agent(data), sharey=True)
    for panel, shown in panels:
        draw_stack(panel, shown.pivot_table(index="epoch", columns="action", values="share", fill_value=0.0))
        panel.set_ylim(0, 1)
        shares(panel.yaxis)
        epochs(panel.xaxis)
    figure.supxlabel(f"epoch{whose(data)}")
    figure.supylabel("share of choices (%)")
    actions = sorted(data["action"].unique())
    style.legend(figure, [Patch(label=action_name(action), **action_look(action)) for action in actions])
    return figure
