"""FPI in 0, 1, 2, 3 layers.

Test accuracy and MACs per sample of variants that differ only in how many of their layers are FPI layers; the others
are evaluated once. Each run is taken at its operating point of highest validation accuracy; a box spans the quartiles
of the seeds, with the median as a line and every seed as a point.
"""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from benchmark.analysis.outcomes import RUN
from benchmark.experiment.configuration import Configuration, Run
from benchmark.figures._evidence import Evidence
from benchmark.figures._palette import COLOURS
from benchmark.figures._style import Style, counts, shares

QUANTITIES = {"accuracy": "test accuracy (%)", "macs": "MACs per sample"}


def fpi_layers(configuration: Configuration) -> dict[str, int]:
    """How many FPI layers the first method with a parameter `fpi` has, and all that differ from it in nothing else."""
    seen = {run.method: run for run in reversed(configuration.runs()) if "fpi" in run.method_parameters}
    in_order = [seen[method] for method in configuration.methods if method in seen]

    def others(run: Run) -> tuple[str, dict[str, object]]:
        return run.method_kind, {name: value for name, value in run.method_parameters.items() if name != "fpi"}

    return {run.method: sum(run.method_parameters["fpi"]) for run in in_order if others(run) == others(in_order[0])}


def applies(configuration: Configuration) -> bool:
    """Where the number of FPI layers is varied."""
    return len(set(fpi_layers(configuration).values())) > 1


def data(evidence: Evidence) -> pd.DataFrame:
    """Accuracy and compute of every run, by number of FPI layers."""
    layers = fpi_layers(evidence.configuration)
    best = evidence.outcomes.chosen(lambda _, curve: curve.best())
    best = best[best["method"].isin(layers)]
    if best.empty:
        return best
    best = best.assign(fpi_layers=best["method"].map(layers)).rename(columns=QUANTITIES)
    long = best.melt([*RUN, "fpi_layers"], list(QUANTITIES.values()), "quantity", "value")
    return evidence.outcomes.presented(long)


def draw(data: pd.DataFrame, style: Style) -> Figure:
    """Accuracy and compute side by side, one row per dataset."""
    figure, panels = style.panels(data, by=["dataset", "quantity"], per_row=2)
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
