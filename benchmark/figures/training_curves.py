"""Training curves.

Training loss, validation accuracy and the mean MACs per validation sample over the epochs, one row a dataset. Thick
lines are means over seeds, thin lines single seeds. Losses of different methods have different terms: compare their
course, not their height.
"""

import pandas as pd
from matplotlib.figure import Figure

from benchmark.configuration import Configuration
from benchmark.figures._evidence import Evidence
from benchmark.figures._style import Style, counts, draw_runs, shares

PANELS = {
    "loss": "training loss",
    "validation_accuracy": "validation accuracy (%)",
    "validation_macs": "validation MACs",
}


def applies(configuration: Configuration) -> bool:
    """Every run is trained."""
    return True


def data(evidence: Evidence) -> pd.DataFrame:
    """Every run's epochs."""
    history = evidence.summary("history")
    return history[["dataset", "method", "seed", "epoch", *PANELS]] if len(history) else history


def draw(data: pd.DataFrame, style: Style) -> Figure:
    """Loss, accuracy and compute abreast, one row a dataset."""
    datasets = data["dataset"].unique()
    figure, panels = style.panels([(dataset, label) for dataset in datasets for label in PANELS.values()])
    for (dataset, label), panel in panels.items():
        column = next(name for name, shown in PANELS.items() if shown == label)
        for method, runs in data[data["dataset"] == dataset].groupby("method", sort=False):
            draw_runs(panel, runs, "epoch", column, style.look(method))
        if column == "validation_accuracy":
            shares(panel.yaxis)
        else:
            counts(panel.yaxis)
    figure.supxlabel("epoch")
    style.legend(figure, [style.handle(method) for method in data["method"].unique()])
    return figure
