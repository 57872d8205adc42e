"""Training curves.

Training loss, validation accuracy and the mean MACs per validation sample over the epochs, one row per dataset. Thick
lines are means over seeds, thin lines single seeds, where there are at most fifty runs. Losses of different methods
have different terms: compare their course, not their height; the loss of a policy gradient measures no error and is
left out (a dotted line marks its first epoch where it starts late). Validation runs at each method's default operating
point, often its most expensive, so its MACs may exceed those of the points that are reported on the test split.
"""

import pandas as pd
from matplotlib.figure import Figure

from benchmark.analysis.outcomes import RUN
from benchmark.experiment.configuration import Configuration
from benchmark.figures._evidence import Evidence
from benchmark.figures._style import Style, counts, decades, draw_runs, epochs, few_runs, shares

QUANTITIES = {
    "loss": "training loss",
    "validation_accuracy": "validation accuracy (%)",
    "validation_macs": "validation MACs",
}


def applies(configuration: Configuration) -> bool:
    """Every run is trained."""
    return True


def data(evidence: Evidence) -> pd.DataFrame:
    """Each quantity of every run, epoch by epoch."""
    history = evidence.overlaid(evidence.outcomes.table("history"))
    if history.empty:
        return history
    # Exactly the epochs in which an agent learns have a reward.
    learning = history["reward"].notna() if "reward" in history else pd.Series(False, history.index)
    history = history.assign(learning=learning, loss=history["loss"].mask(learning))
    keys = [*RUN, "epoch", "learning"]
    long = history.rename(columns=QUANTITIES).melt(keys, list(QUANTITIES.values()), "quantity", "value")
    return evidence.outcomes.presented(long)


def draw(data: pd.DataFrame, style: Style) -> Figure:
    """Loss, accuracy and compute side by side, one row per dataset."""
    figure, panels = style.panels(data, by=["dataset", "quantity"])
    for panel, shown in panels:
        single = few_runs(shown)
        for method, runs in shown.groupby("method", sort=False):
            look = style.look(method)
            draw_runs(panel, runs.dropna(subset="value"), "epoch", "value", look, single)
            start = runs.loc[runs["learning"], "epoch"].min()
            if start > runs["epoch"].min():  # not where it learns from the first epoch, or never
                panel.axvline(start - 0.5, color=look["color"], linestyle=":", linewidth=0.8, zorder=1)
        if (quantity := shown["quantity"].iloc[0]) == QUANTITIES["loss"]:
            panel.set_yscale("log")
            decades(panel.yaxis)
        else:
            (shares if quantity == QUANTITIES["validation_accuracy"] else counts)(panel.yaxis)
        epochs(panel.xaxis)
    figure.supxlabel("epoch")
    style.legend(figure, [style.handle(method) for method in data["method"].unique()])
    return figure
