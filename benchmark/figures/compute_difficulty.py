"""Compute against difficulty.

Mean MACs that each adaptive method spends on a test sample, against the sample's difficulty, at the operating point
in the middle of the method's curve. Difficulty is the dataset's own dial where it has one, and otherwise the sample's
rank in how unsure the reference network is of it. Points are means over seeds within a bin of equally many samples;
bands are 95% intervals of the mean, cut to what the method is able to spend. A flat line is a method that does not
tell hard from easy.
"""

import pandas as pd
from matplotlib.figure import Figure

from benchmark.analysis.outcomes import RUN
from benchmark.experiment.configuration import Configuration
from benchmark.figures._evidence import Evidence
from benchmark.figures._means import mean_over_seeds
from benchmark.figures._style import Style, band, counts

#: What the summary calls a dataset's own dial, and the one that takes its place.
DIAL, DOUBT = "difficulty", "doubt of the reference"


def applies(configuration: Configuration) -> bool:
    """Where there is a method that may adapt, beside the reference."""
    return len(configuration.methods) > 1


def data(evidence: Evidence) -> pd.DataFrame:
    """Mean MACs in each bin of difficulty, over seeds."""
    outcomes = evidence.outcomes
    bins = evidence.overlaid(outcomes.table("difficulty"))
    if bins.empty:
        return bins
    bins = bins[(bins["policy"] == "own") & ~bins["method"].isin(outcomes.static_methods)]
    bins = bins.merge(
        outcomes.chosen(lambda _, curve: curve.middle())[[*RUN, "operating_point"]], on=[*RUN, "operating_point"]
    ).sort_values("bin", kind="stable")
    easier = bins.groupby(RUN)["samples"].cumsum() - bins["samples"] / 2
    bins["percentile"] = 100 * easier / bins.groupby(RUN)["samples"].transform("sum")
    by = ["dataset", "dial", "method", "bin"]
    centres = bins.groupby(by, sort=False, as_index=False)[["difficulty", "percentile"]].mean()
    means = mean_over_seeds(bins, by, "macs").merge(centres, on=by).merge(_possible(outcomes.points), on=by[::2])
    names = {label: evidence.dial_name(label) for label in means.loc[means["dial"] == DIAL, "dataset"].unique()}
    return outcomes.presented(means.assign(dial=means["dataset"].map(names).fillna(means["dial"])))


def _possible(curves: pd.DataFrame) -> pd.DataFrame:
    """The `least` and `most` that each method spends on a tenth of the samples, at any of its operating points."""
    spent = curves.groupby(["dataset", "method"], sort=False)
    return spent.agg(least=("macs_q10", "min"), most=("macs_q90", "max")).reset_index()


def draw(data: pd.DataFrame, style: Style) -> Figure:
    """One panel per dataset."""
    figure, panels = style.panels(data)
    for panel, shown in panels:
        dial = shown["dial"].iloc[0]
        # Doubts are squeezed at zero and mean little by themselves; their order is what matters.
        x = "percentile" if dial == DOUBT else "difficulty"
        for method, mean in shown.groupby("method", sort=False):
            look, mean = style.look(method), mean.sort_values("difficulty")
            panel.plot(mean[x], mean["macs"], label=method, **look)
            band(panel, mean[x], mean, look, within=(mean["least"].iloc[0], mean["most"].iloc[0]))
        panel.set_xlabel(dial if x == "difficulty" else f"{dial} (percentile)")
        counts(panel.yaxis)
    figure.supylabel("MACs per sample")
    style.legend(figure, [style.handle(method) for method in data["method"].unique()])
    return figure
