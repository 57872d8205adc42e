"""Accuracy and choices against the price of compute.

One trained agent, given different prices of compute at inference: test accuracy (%) and MACs per sample (means over
seeds; bands are 95% intervals of the mean), and how all its choices of all rounds divide into layers and the direct
answer. An agent that responds to the price spends less as it rises.
"""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from benchmark.analysis.outcomes import RUN
from benchmark.analysis.variants import agents
from benchmark.experiment.configuration import Configuration
from benchmark.figures._evidence import Evidence
from benchmark.figures._means import mean_curves
from benchmark.figures._palette import action_look
from benchmark.figures._style import (
    Style,
    action_name,
    band,
    counts,
    decades,
    draw_stack,
    fit,
    per_agent,
    shares,
    whose,
)

_AGENT = ["dataset", "method"]


def applies(configuration: Configuration) -> bool:
    """Where a method has an agent."""
    return bool(agents(configuration))


def data(evidence: Evidence) -> pd.DataFrame:
    """By price (`knob`): accuracy and macs with their `low` and `high`, and `choice`, the share of an `action`."""
    actions = evidence.agent_actions
    if actions.empty:
        return actions
    curves = evidence.of_agents(evidence.outcomes.own_points)
    parts = [
        _at_equal_prices(curves, value).assign(quantity=quantity)
        for value, quantity in (("accuracy", "accuracy"), ("macs", "MACs"))
    ]
    taken = actions.pivot_table(index=[*RUN, "knob"], columns="action", values="samples", aggfunc="sum", fill_value=0)
    shares = taken.div(taken.sum(axis=1), axis=0)
    for action in shares.columns:
        means = _at_equal_prices(shares[action].rename("share").reset_index(), "share")
        occurs = means.groupby(_AGENT)["value"].transform("max") > 0
        parts.append(means[occurs].assign(quantity="choices", action=action, low=np.nan, high=np.nan))
    columns = [*_AGENT, "knob", "quantity", "action", "value", "low", "high"]
    return evidence.outcomes.presented(pd.concat(parts, ignore_index=True)[columns].astype({"action": "Int64"}))


def _at_equal_prices(table: pd.DataFrame, value: str) -> pd.DataFrame:
    """Means over seeds, which choose prices of their own on validation: `knob`, `value`, `low` and `high`."""
    logarithmic = (table["knob"] > 0).all()
    table = table.assign(place=np.log(table["knob"]) if logarithmic else table["knob"])
    means = mean_curves(table, _AGENT, "place", value, along="place").rename(columns={value: "value"})
    return means.assign(knob=np.exp(means["place"].astype(float)) if logarithmic else means["place"])


def draw(data: pd.DataFrame, style: Style) -> Figure:
    """Accuracy, compute and choices side by side, one row per dataset."""
    figure, panels = style.panels(data, by=[*per_agent(data), "quantity"])
    prices = sorted(data["knob"].unique())
    for panel, shown in panels:
        quantity, shown = shown["quantity"].iloc[0], shown.sort_values("knob")
        look = style.look(shown["method"].iloc[0])
        if quantity == "choices":
            stacked = shown.pivot_table(index="knob", columns="action", values="value", fill_value=0.0)
            draw_stack(panel, stacked)
            panel.set_ylim(0, 1)
        else:
            panel.plot(shown["knob"], shown["value"], label=quantity, **look)
            if quantity == "accuracy":
                band(panel, shown["knob"], shown, look)
                fit(panel, shown.melt(value_vars=["value", "low", "high"], value_name="bound")["bound"].clip(0, 1))
            else:
                band(panel, shown["knob"], shown, look, within=(0, None))
                panel.set_ylim(bottom=0)
        if prices[0] > 0 and prices[-1] > 30 * prices[0]:
            panel.set_xscale("log")
            panel.set_xlim(prices[0] / 1.2, prices[-1] * 1.2)
            decades(panel.xaxis)
        (counts if quantity == "MACs" else shares)(panel.yaxis)
    figure.supxlabel(f"price of compute{whose(data)}")
    actions = sorted(data["action"].dropna().unique())
    style.legend(figure, [Patch(label=action_name(action), **action_look(action)) for action in actions])
    return figure
