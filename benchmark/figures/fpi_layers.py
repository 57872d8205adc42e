"""FPI in 0, 1, 2, 3 layers.

Test accuracy and MACs per sample of DynaLays that differ in how many of their layers are FPI layers, the others being
evaluated once. Each run is taken at its operating point of highest validation accuracy; a box spans the quartiles of
the seeds, with the median as a line and every seed as a point.
"""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from benchmark.experiment.configuration import Configuration
from benchmark.figures._evidence import RUN, Evidence, agent_method
from benchmark.figures._style import COLOURS, Style, counts, shares

QUANTITIES = {"accuracy": "test accuracy (%)", "macs": "MACs per sample"}


def fpi_layers(configuration: Configuration) -> dict[str, int]:
    """How many FPI layers the first DynaLay has, and those that differ from it in nothing else; by label."""
    whole = {
        run.method: run.method_parameters for run in reversed(configuration.runs()) if run.method_kind == "dynalay"
    }
    alike = {
        method: {name: value for name, value in parameters.items() if name != "fpi"}
        for method, parameters in whole.items()
        if "fpi" in parameters
    }
    base = alike.get(agent_method(configuration) or "")
    return {method: sum(whole[method]["fpi"]) for method, parameters in alike.items() if parameters == base}


def applies(configuration: Configuration) -> bool:
    """Where the number of FPI layers is varied."""
    return len(set(fpi_layers(configuration).values())) > 1


def data(evidence: Evidence) -> pd.DataFrame:
    """Accuracy and compute of every run, by number of FPI layers."""
    curves = evidence.summary("curves")
    if curves.empty:
        return curves
    layers = fpi_layers(evidence.configuration)
    curves = curves[(curves["policy"] == "own") & curves["method"].isin(layers)]
    keys = [*RUN, "operating_point"]
    validation = curves[curves["split"] == "validation"]
    ranked = validation.sort_values(["accuracy", "macs"], ascending=[False, True], kind="stable")
    chosen = ranked.groupby(RUN, sort=False).head(1)
    test = curves[curves["split"] == "test"].merge(chosen[keys], on=keys)
    test = test.assign(fpi_layers=test["method"].map(layers)).rename(columns=QUANTITIES)
    long = test.melt([*RUN, "fpi_layers"], list(QUANTITIES.values()), "quantity", "value")
    return evidence.presented(long)


def draw(data: pd.DataFrame, style: Style) -> Figure:
    """Accuracy and compute abreast, one row a dataset."""
    figure, panels = style.panels(data, by=["dataset", "quantity"], abreast=2)
    for panel, shown in panels:
        groups = {count: runs["value"] for count, runs in shown.groupby("fpi_layers")}
        panel.boxplot(
            list(groups.values()),
            positions=list(groups),
            widths=0.5,
            showfliers=False,
            medianprops={"color": COLOURS[4]},
        )
        for count, values in groups.items():
            # Spread sideways, so that seeds of equal value are seen apart.
            places = count + np.linspace(-0.12, 0.12, len(values)) if len(values) > 1 else [count]
            panel.plot(places, values, "o", color=COLOURS[0], markersize=2.5, label=f"{count} FPI layers")
        panel.set_xticks(list(groups), [str(count) for count in groups])
        panel.grid(visible=False, axis="x")
        (shares if shown["quantity"].iloc[0] == QUANTITIES["accuracy"] else counts)(panel.yaxis)
    figure.supxlabel("FPI layers")
    return figure
