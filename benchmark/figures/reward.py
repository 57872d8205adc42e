"""Reward against epoch.

The agent's mean training reward (correctness less the price of its compute and of redundant choices) by epoch: a thin
line for each seed, the thick one is their mean. Epochs before the agent learns have no reward.
"""

import pandas as pd
from matplotlib.figure import Figure

from benchmark.analysis.outcomes import RUN
from benchmark.analysis.variants import agents
from benchmark.experiment.configuration import Configuration
from benchmark.figures._evidence import Evidence
from benchmark.figures._style import Style, draw_runs, epochs, per_agent, whose


def applies(configuration: Configuration) -> bool:
    """Where a method has an agent."""
    return bool(agents(configuration))


def data(evidence: Evidence) -> pd.DataFrame:
    """The reward of each epoch and seed."""
    history = evidence.of_agents(evidence.outcomes.table("history"))
    if "reward" not in history:
        return pd.DataFrame()
    return evidence.outcomes.presented(history.dropna(subset="reward")[[*RUN, "epoch", "reward"]])


def draw(data: pd.DataFrame, style: Style) -> Figure:
    """One panel per dataset."""
    figure, panels = style.panels(data, by=per_agent(data))
    for panel, runs in panels:
        draw_runs(panel, runs, "epoch", "reward", style.look(runs["method"].iloc[0]))
        epochs(panel.xaxis)
    figure.supxlabel(f"epoch{whose(data)}")
    figure.supylabel("reward")
    return figure
