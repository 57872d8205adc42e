"""Gallery.

The test inputs on which one trained model spent least and most, at one operating point in the middle of its curve.
Above each image: its class and, in red where it differs, the predicted one after an arrow. Below: the MACs spent and
the layers that the agent re-evaluated, round by round (1·3 is layer 1, then layer 3), or that it answered at once.
Where all samples cost the same, those of which it was least sure are shown alone. Walls of a maze are dark and its
two markers coloured; where an input has two frames they lie over each other, the first orange, the second blue, and
white where both are bright.
"""

import base64
import io
from typing import Any

import matplotlib.image
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmark.analysis.formatting import significant
from benchmark.analysis.variants import agents
from benchmark.errors import UserError
from benchmark.experiment.configuration import Configuration
from benchmark.figures._evidence import Evidence
from benchmark.figures._style import HOLE, Style, per_agent

_ORANGE, _BLUE = np.array([230, 130, 0]), np.array([25, 125, 255])  # together they give white


def applies(configuration: Configuration) -> bool:
    """Where a method has an agent."""
    return bool(agents(configuration))


def data(evidence: Evidence) -> pd.DataFrame:
    """The extreme samples, each with its image as a PNG data URI and its class names, where there are images."""
    chosen = evidence.of_agents(evidence.outcomes.table("gallery"))
    parts = []
    for dataset, samples in chosen.groupby("dataset", sort=False):
        try:
            source = evidence.dataset(dataset)
        except UserError as error:  # records outlive the images that they were made from
            print(f"{dataset} is left out: {error}")
            continue
        images = source.test.images[samples["sample"].tolist()].numpy()
        parts.append(
            samples.assign(
                true_class=[source.classes[label] for label in samples["label"]],
                predicted_class=[source.classes[label] for label in samples["prediction"]],
                path=[None if path is None else " ".join(map(str, path)) for path in samples["path"]],
                image=[encode(compose(image, source.name)) for image in images],
            )
        )
    return pd.concat(parts, ignore_index=True) if parts else chosen.iloc[:0]


def compose(image: np.ndarray, kind: str) -> np.ndarray:
    """A uint8 image [channels, height, width] of a dataset of this kind as one colour picture [height, width, 3]."""
    if len(image) == 3:
        return image.transpose(1, 2, 0)
    if len(image) == 1:
        return image[0, :, :, None].repeat(3, axis=2)
    if kind == "maze":  # open cells, markers
        picture = np.where(image[0, :, :, None] > 0, 235, 60).repeat(3, axis=2)
        for place, colour in zip(np.argwhere(image[1]), (_ORANGE, _BLUE), strict=False):
            picture[tuple(place)] = colour
        return picture.astype(np.uint8)
    first, second = image[:2, :, :, None] / 255
    return (first * _ORANGE + second * _BLUE).round().astype(np.uint8)


def encode(pixels: np.ndarray) -> str:
    """uint8 pixels [height, width, 3] as a PNG data URI."""
    stream = io.BytesIO()
    pixels = np.ascontiguousarray(pixels)
    matplotlib.image.imsave(stream, pixels, format="png", metadata={"Software": None})  # type: ignore[dict-item]
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def decode(uri: str) -> np.ndarray:
    """The pixels [height, width, 3 or 4] of a PNG data URI."""
    return matplotlib.image.imread(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def path_text(path: str | None) -> str:
    """An agent's path as it is shown: the layers that it re-evaluated before it answered."""
    if path is None:
        return ""
    return "·".join(action for action in path.split() if action != "0") or "answer at once"


def draw(data: pd.DataFrame, style: Style) -> Figure:
    """Two rows per dataset, least and most; one where all samples cost the same."""
    rows = groups(data)
    columns = 8 if style.width > 5 else 4
    figure = Figure(figsize=(style.width, len(rows) * (style.width / columns + 0.65)), layout="constrained")
    for part, (heading, shown) in zip(figure.subfigures(len(rows), 1, squeeze=False).flat, rows, strict=True):
        part.suptitle(heading, x=0.01, ha="left", weight="bold", fontsize=8)
        panels = part.subplots(1, columns, squeeze=False)[0]
        for panel in panels:
            panel.set_axis_off()
        for panel, sample in zip(panels, shown.itertuples(), strict=False):
            _draw_sample(panel, sample)
    return figure


def groups(data: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """What is shown together, headed: of each dataset least and most, or one group where all samples cost the same."""
    found = []
    for key, samples in data.groupby(per_agent(data), sort=False):
        name = ": ".join(key)
        extremes = dict(list(samples.groupby("extreme")))
        if samples["macs"].min() == samples["macs"].max():
            cost = significant(samples["macs"].iloc[0])
            found.append((f"{name}: all cost {cost} MACs; least sure", extremes["most"]))
        else:
            found += [(f"{name}: {extreme} compute", extremes[extreme]) for extreme in ("least", "most")]
    return found


def _draw_sample(panel: Axes, sample: Any) -> None:
    panel.imshow(decode(sample.image), interpolation="nearest")
    wrong = sample.label != sample.prediction
    name = f"{sample.true_class} → {sample.predicted_class}" if wrong else sample.true_class
    # Two long names do not fit above one image.
    above = name.replace(" → ", "\n→ ") if len(name) > 14 else name
    panel.set_title(above, fontsize=7, weight="normal", loc="center", color=HOLE if wrong else "black", pad=2)
    below = significant(sample.macs) + ("" if sample.path is None else f"\n{path_text(sample.path)}")
    panel.text(0.5, -0.04, below, transform=panel.transAxes, ha="center", va="top", fontsize=7)
