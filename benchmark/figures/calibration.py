"""Calibration of the agent's predictions.

What the agent expects of evaluating a layer, in points of accuracy, against what came of it: the share of right answers
with the layer less that without it, of the same samples. Each layer's decisions on test samples, at all prices, are
split into ten equal parts by prediction; a point is one part, its bar the 95% interval over samples. Means over seeds.
A seed's parts with fewer than 30 samples say too little and are left out. On the line, the agent is right on average;
below it, the agent expects too much.
"""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from benchmark.analysis.variants import agents
from benchmark.experiment.configuration import Configuration
from benchmark.figures._evidence import Evidence
from benchmark.figures._palette import layer_look
from benchmark.figures._style import Style, action_name, per_agent, shares, whose

FEWEST_SAMPLES = 30


def applies(configuration: Configuration) -> bool:
    """Where a method has an agent."""
    return bool(agents(configuration))


def data(evidence: Evidence) -> pd.DataFrame:
    """By layer and bin: predicted and realised gain, its standard error (means over seeds), decisions and samples."""
    found = evidence.of_agents(evidence.run_files("gains.csv")).dropna(subset=["predicted", "realised", "error"])
    if found.empty or (found := found[found["samples"] >= FEWEST_SAMPLES]).empty:
        return found
    table = found.groupby(["dataset", "method", "layer", "bin"], sort=False).agg(
        predicted=("predicted", "mean"),
        realised=("realised", "mean"),
        error=("error", lambda errors: np.sqrt((errors**2).sum()) / len(errors)),
        decisions=("decisions", "sum"),
        samples=("samples", "sum"),
    )
    return evidence.outcomes.presented(table.reset_index())


def draw(data: pd.DataFrame, style: Style) -> Figure:
    """One panel per dataset, one curve per layer."""
    figure, panels = style.panels(data, by=per_agent(data))
    for panel, shown in panels:
        ends = [shown["predicted"].min(), shown["predicted"].max()]
        panel.plot(ends, ends, color="0.5", linewidth=0.8, linestyle="--", zorder=1)
        for layer, part in shown.groupby("layer"):
            panel.errorbar(
                part["predicted"], part["realised"], yerr=1.96 * part["error"], **layer_look(layer),
                markersize=3, linewidth=1, elinewidth=0.8, label=action_name(layer),
            )  # fmt: skip
        shares(panel.xaxis)
        shares(panel.yaxis)
    figure.supxlabel(f"gain predicted, in points{whose(data)}")
    figure.supylabel("gain realised, in points")
    handles = {
        label: handle for panel, _ in panels for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    style.legend(figure, [handles[action_name(layer)] for layer in sorted(data["layer"].unique())])
    return figure
