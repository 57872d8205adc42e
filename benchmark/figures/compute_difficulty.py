"""Compute against difficulty.

Mean MACs that each adaptive method spends on a test sample, against the sample's difficulty, at the operating point
in the middle of the method's curve. Difficulty is the dataset's own dial where it has one, and otherwise how unsure
the reference network is of the sample. Points are means over seeds within a bin of the dial, with the 95% interval
of the mean. A flat line is a method that does not tell hard from easy.
"""

import pandas as pd
from matplotlib.figure import Figure

from benchmark.configuration import Configuration
from benchmark.figures._evidence import RUN, Evidence, mean_over_seeds, middle_points
from benchmark.figures._style import Style, counts


def applies(configuration: Configuration) -> bool:
    """Where there is a method that may adapt, beside the reference."""
    return len(configuration.methods) > 1


def data(evidence: Evidence) -> pd.DataFrame:
    """Mean MACs in each bin of difficulty, over seeds."""
    bins = evidence.summary("difficulty")
    if bins.empty:
        return bins
    bins = bins[(bins["policy"] == "own") & ~bins["method"].isin(evidence.static_methods)]
    bins = bins.merge(middle_points(evidence.own_curves), on=[*RUN, "operating_point"])
    by = ["dataset", "dial", "method", "bin"]
    centres = bins.groupby(by, sort=False, as_index=False)["difficulty"].mean()
    return evidence.presented(mean_over_seeds(bins, by, "macs").merge(centres, on=by))


def draw(data: pd.DataFrame, style: Style) -> Figure:
    """One panel a dataset."""
    figure, panels = style.panels(data)
    for panel, shown in panels:
        for method, mean in shown.groupby("method", sort=False):
            look, mean = style.look(method), mean.sort_values("difficulty")
            panel.plot(mean["difficulty"], mean["macs"], label=method, **look)
            panel.fill_between(
                mean["difficulty"], mean["low"], mean["high"], color=look["color"], alpha=0.15, linewidth=0
            )
        panel.set_xlabel(shown["dial"].iloc[0])
        counts(panel.yaxis)
    figure.supylabel("MACs per sample")
    style.legend(figure, [style.handle(method) for method in data["method"].unique()])
    return figure
