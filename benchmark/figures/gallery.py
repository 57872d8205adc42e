"""Gallery.

The test inputs on which one trained model spent least (upper row of each dataset) and most (lower row), at one
operating point. Above each image: its class and, where it differs, the predicted one after an arrow. Below: the MACs
spent, and the actions of the agent, round by round (a number re-evaluates that layer, a dot answers).
"""

import base64
import io

import matplotlib.image
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from benchmark.configuration import Configuration
from benchmark.figures._evidence import Evidence, agent_method
from benchmark.figures._style import Style
from benchmark.tabulation import significant


def applies(configuration: Configuration) -> bool:
    """Where a DynaLay is trained."""
    return agent_method(configuration) is not None


def data(evidence: Evidence) -> pd.DataFrame:
    """The extreme samples, each with its image as a PNG data URI and its class names."""
    chosen = evidence.of_agent(evidence.summary("gallery"))
    parts = []
    for dataset, samples in chosen.groupby("dataset", sort=False):
        source = evidence.dataset(dataset)
        images = source.test.images[samples["sample"].tolist()].numpy()
        parts.append(
            samples.assign(
                true_class=[source.classes[label] for label in samples["label"]],
                predicted_class=[source.classes[label] for label in samples["prediction"]],
                path=[None if path is None else " ".join(map(str, path)) for path in samples["path"]],
                image=[encode(image) for image in images],
            )
        )
    return pd.concat(parts, ignore_index=True) if parts else chosen


def encode(image: np.ndarray) -> str:
    """A uint8 image [channels, height, width] of one, two or three channels as a PNG data URI."""
    if len(image) == 2:  # two frames abreast, parted by a white line
        image = np.concatenate([image[0], np.full((image.shape[1], 1), 255, np.uint8), image[1]], axis=1)[None]
    pixels = np.repeat(image, 3, axis=0) if len(image) == 1 else image
    stream = io.BytesIO()
    pixels = np.ascontiguousarray(pixels.transpose(1, 2, 0))
    matplotlib.image.imsave(stream, pixels, format="png", metadata={"Software": None})  # type: ignore[dict-item]
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def decode(uri: str) -> np.ndarray:
    """The pixels [height, width, 3 or 4] of a PNG data URI."""
    return matplotlib.image.imread(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def path_text(path: str | None) -> str:
    """An agent's path as it is shown: layers by number, the direct answer as a dot."""
    return "" if path is None else " ".join("·" if action == "0" else action for action in path.split())


def draw(data: pd.DataFrame, style: Style) -> Figure:
    """Two rows a dataset: least, most."""
    rows = list(data[["dataset", "extreme"]].drop_duplicates().itertuples(index=False, name=None))
    columns = 8 if style.width > 5 else 4
    figure = Figure(figsize=(style.width, len(rows) * (style.width / columns + 0.42)), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for panel in axes.flat:
        panel.set_axis_off()
    for (dataset, extreme), row in zip(rows, axes, strict=True):
        shown = data[(data["dataset"] == dataset) & (data["extreme"] == extreme)]
        row[0].text(
            -0.12,
            0.5,
            f"{dataset}: {extreme}",
            transform=row[0].transAxes,
            rotation=90,
            ha="right",
            va="center",
            weight="bold",
        )
        for panel, sample in zip(row, shown.itertuples(), strict=False):
            panel.imshow(decode(sample.image), interpolation="nearest")
            wrong = sample.label != sample.prediction
            name = f"{sample.true_class}→{sample.predicted_class}" if wrong else sample.true_class
            panel.set_title(
                name, fontsize=7, weight="normal", loc="center", color="#b03000" if wrong else "black", pad=2
            )
            below = significant(sample.macs) + ("" if sample.path is None else f"\n{path_text(sample.path)}")
            panel.text(0.5, -0.06, below, transform=panel.transAxes, ha="center", va="top", fontsize=7)
    return figure
