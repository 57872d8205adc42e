"""Reward against epoch.

The agent's mean training reward (correctness less the price of its compute and of redundant choices) by epoch: a thin
line for each seed, the thick one is their mean. Epochs before the agent learns have no reward.
"""

import pandas as pd
from matplotlib.figure import Figure

from benchmark.experiment.configuration import Configuration
from benchmark.figures._evidence import RUN, Evidence, agent_method
from benchmark.figures._style import Style, draw_runs


def applies(configuration: Configuration) -> bool:
    """Where a DynaLay is trained."""
    return agent_method(configuration) is not None


def data(evidence: Evidence) -> pd.DataFrame:
    """The reward of each epoch and seed."""
    history = evidence.of_agent(evidence.summary("history"))
    if "reward" not in history:
        return pd.DataFrame()
    return evidence.presented(history.dropna(subset="reward")[[*RUN, "epoch", "reward"]])


def draw(data: pd.DataFrame, style: Style) -> Figure:
    """One panel a dataset."""
    figure, panels = style.panels(data)
    for panel, runs in panels:
        draw_runs(panel, runs, "epoch", "reward", style.look(runs["method"].iloc[0]))
    figure.supxlabel(f"epoch ({data['method'].iloc[0]})")
    figure.supylabel("reward")
    return figure
