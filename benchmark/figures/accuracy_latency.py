"""Accuracy against latency.

Test accuracy against the measured wall-clock time per sample, one panel for each dataset and batch size. A line
joins a method's operating points, positions are means over the seeds that were timed, the band is the 95% interval of
the mean accuracy; grey points are static networks. Finished samples leave the batch, so a batch's time falls with its
compute only as far as the device is kept busy: compare with accuracy against compute. Panels are fitted to the
points: wide bands run out of them, and so do points far below what every method reaches.
"""

import pandas as pd
from matplotlib.figure import Figure

from benchmark.analysis.outcomes import RUN
from benchmark.experiment.configuration import Configuration
from benchmark.figures._evidence import Evidence
from benchmark.figures._means import mean_curves
from benchmark.figures._style import Style, band, decades, fit, shares

_METHOD = ["dataset", "batch_size", "device", "method", "static"]


def applies(configuration: Configuration) -> bool:
    """Every method can be timed."""
    return True


def data(evidence: Evidence) -> pd.DataFrame:
    """Mean time per sample and accuracy at each operating point that was timed."""
    outcomes, latency = evidence.outcomes, evidence.overlaid(evidence.run_files("latency.csv"))
    latency = latency.dropna(subset="milliseconds_per_sample").fillna({"device": "unknown device"})
    if latency.empty or outcomes.own_points.empty:
        return pd.DataFrame()
    keys = [*RUN, "operating_point"]
    timed = latency.merge(outcomes.own_points[[*keys, "accuracy", "macs"]], on=keys)
    timed = timed.assign(static=timed["method"].isin(outcomes.static_methods))
    means = outcomes.presented(mean_curves(timed, _METHOD, "milliseconds_per_sample"))
    # It is timings that are counted here: as a rule, one seed is timed.
    seeds = timed.groupby(["dataset", "method"])["seed"].nunique()
    return means.assign(seeds=seeds.loc[list(zip(means["dataset"], means["method"], strict=True))].to_numpy())


def timed_seeds(data: pd.DataFrame) -> str:
    """How many of the planned seeds were timed, to be added in brackets; nothing where all were."""
    least, most, planned = data["seeds"].min(), data["seeds"].max(), data["planned"].max()
    if least == planned:
        return ""
    return f"; {least if least == most else f'{least} to {most}'} of {planned} seeds timed"


def draw(data: pd.DataFrame, style: Style) -> Figure:
    """One panel for each dataset and batch size."""
    devices = data["device"].unique()
    setting = "batch " + data["batch_size"].astype(str)
    if len(devices) > 1:
        setting += ", " + data["device"]
    # A dataset's settings stand side by side, where they fit.
    per_row = settings if 1 < (settings := setting.nunique()) <= 3 else 3
    shown = data.drop(columns="planned").assign(setting=setting)
    figure, panels = style.panels(shown, by=["dataset", "setting"], per_row=per_row)
    for panel, shown in panels:
        for method, mean in shown.groupby("method", sort=False):
            look = style.look(method)
            panel.plot(mean["milliseconds_per_sample"], mean["accuracy"], label=method, **look)
            band(panel, mean["milliseconds_per_sample"], mean, look)
        time = shown["milliseconds_per_sample"]
        if time.max() > 10 * time.min():
            panel.set_xscale("log")
            decades(panel.xaxis)
        fit(panel, shown["accuracy"], shown.groupby("method")["accuracy"].max())
        shares(panel.yaxis)
    figure.supxlabel(f"milliseconds per sample ({', '.join(devices)}{timed_seeds(data)})")
    figure.supylabel("test accuracy (%)")
    style.legend(figure, [style.handle(method) for method in data["method"].unique()])
    return figure
