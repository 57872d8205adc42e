"""Training curves.

Training loss, validation accuracy and the mean MACs per validation sample over the epochs, one row a dataset. Thick
lines are means over seeds, thin lines single seeds. Losses of different methods have different terms: compare their
course, not their height.
"""

import pandas as pd
from matplotlib.figure import Figure

from benchmark.configuration import Configuration
from benchmark.figures._evidence import RUN, Evidence
from benchmark.figures._style import Style, counts, draw_runs, shares

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
    history = evidence.summary("history")
    if history.empty:
        return history
    long = history.rename(columns=QUANTITIES).melt([*RUN, "epoch"], list(QUANTITIES.values()), "quantity", "value")
    return evidence.presented(long)


def draw(data: pd.DataFrame, style: Style) -> Figure:
    """Loss, accuracy and compute abreast, one row a dataset."""
    figure, panels = style.panels(data, by=["dataset", "quantity"])
    for panel, shown in panels:
        for method, runs in shown.groupby("method", sort=False):
            draw_runs(panel, runs, "epoch", "value", style.look(method))
        (shares if shown["quantity"].iloc[0] == QUANTITIES["validation_accuracy"] else counts)(panel.yaxis)
    figure.supxlabel("epoch")
    style.legend(figure, [style.handle(method) for method in data["method"].unique()])
    return figure
