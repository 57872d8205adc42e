"""Residual against iteration.

The relative residual of each FPI layer at its last evaluation, |f(z, u) - z| / |f(z, u)|, against how often its cell
had run by then, when the control that always iterates is given more and more rounds. Each run's residual is the mean
over test samples; points are geometric means over seeds, and bands their 95% intervals (of the mean logarithm). A
line that falls to the tolerance is a cell that contracts; one that stalls is not.
"""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from benchmark.analysis.outcomes import RUN
from benchmark.analysis.variants import agents
from benchmark.experiment.configuration import Configuration
from benchmark.figures._evidence import Evidence
from benchmark.figures._means import mean_over_seeds
from benchmark.figures._palette import layer_look
from benchmark.figures._style import Style, band, decades, per_agent, whose

#: Differences of float32 numbers carry no meaning below this, and an exact 0 has no logarithm.
_RESOLUTION = float(np.finfo(np.float32).eps)


def applies(configuration: Configuration) -> bool:
    """Where a method has an agent."""
    return bool(agents(configuration))


def data(evidence: Evidence) -> pd.DataFrame:
    """Each layer's residual and number of evaluations, when the control iterates more and more rounds."""
    notes, executions = (
        evidence.of_agents(evidence.outcomes.table("notes")),
        evidence.of_agents(evidence.outcomes.table("executions")),
    )
    if notes.empty or executions.empty:
        return pd.DataFrame()
    residuals = notes[notes["policy"].isin(["never", "always"]) & notes["note"].str.fullmatch(r"residual\d+")]
    residuals = residuals.assign(layer=residuals["note"].str.removeprefix("residual").astype(int))
    cells = executions[executions["component"].str.fullmatch(r"layer\d+\.cell")]
    cells = cells.assign(layer=cells["component"].str.extract(r"(\d+)", expand=False).astype(int))
    keys = [*RUN, "operating_point", "layer"]
    both = residuals.merge(cells[[*keys, "executions"]], on=keys)
    if both.empty:
        return both
    by = ["dataset", "method", "layer", "knob"]
    evaluations = both.groupby(by, sort=False, as_index=False)["executions"].mean()
    logarithms = both.assign(residual=np.log(both["mean"].clip(lower=_RESOLUTION)))
    means = mean_over_seeds(logarithms, by, "residual")
    means[["residual", "low", "high"]] = np.exp(means[["residual", "low", "high"]])
    return evidence.outcomes.presented(
        means.merge(evaluations, on=by).rename(columns={"knob": "rounds", "executions": "evaluations"})
    )


def draw(data: pd.DataFrame, style: Style) -> Figure:
    """One panel per dataset, one line per layer."""
    figure, panels = style.panels(data, by=per_agent(data))
    layers = sorted(data["layer"].unique())
    looks = {layer: layer_look(layer) for layer in layers}
    for panel, shown in panels:
        for layer, line in shown.groupby("layer"):
            line = line.sort_values("evaluations")
            panel.plot(line["evaluations"], line["residual"], label=f"layer {layer}", **looks[layer])
            band(panel, line["evaluations"], line, looks[layer], within=(_RESOLUTION, None))
        panel.set_yscale("log")
        decades(panel.yaxis)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    figure.supxlabel(f"evaluations of the cell{whose(data)}")
    figure.supylabel("relative residual")
    style.legend(figure, [Line2D([], [], label=f"layer {layer}", **look) for layer, look in looks.items()])
    return figure
