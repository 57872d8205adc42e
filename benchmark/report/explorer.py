"""The explorer of single decisions: a page on which one looks at one test sample and what a method does with it.

It shows what evaluation kept for that purpose (`benchmark.evaluation.decisions`), one run for each dataset and method.
Everything is in one file: the steps and pictures of a dataset are compressed, and read when the dataset is chosen.
"""

import base64
import gzip
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.nn import functional

from benchmark.errors import UserError
from benchmark.evaluation import decisions
from benchmark.figures import Evidence
from benchmark.figures.gallery import compose, encode
from benchmark.report.templating import fill

_STYLE = Path(__file__).with_name("explorer.css")
#: Bytes of all datasets together, as they stand in the page; where there is more, fewer samples are shown.
LARGEST = 8_000_000
#: Classes shown of each answer, pixels of a picture's longer side, and pictures in a row of the sheet.
BEST, SIDE, ACROSS = 3, 64, 20


def render(evidence: Evidence) -> str:
    """The page of an experiment, as HTML."""
    found, holes = _found(evidence)
    samples = decisions.SAMPLES
    while True:
        packed = {dataset: _packed(dataset, frames, evidence, samples) for dataset, frames in found.items()}
        if sum(map(len, packed.values())) <= LARGEST or samples == 1:
            break
        samples = samples // 2
    return fill(
        "explorer.html",
        ("theme", "explorer") if packed else ("theme",),
        experiment=evidence.configuration.experiment,
        packed=packed,
        # Opens where some method decides most.
        first=max(found, key=lambda dataset: max(len(frame) for _, frame in found[dataset].values()), default=None),
        holes=holes,
        own_css=_STYLE.read_text(encoding="utf-8"),
    )


def _found(evidence: Evidence) -> tuple[dict[str, dict[str, tuple[int, pd.DataFrame]]], list[str]]:
    """By dataset and method, the seed and the steps of the first run that has any; and which pairs have none."""
    runs = evidence.outcomes.runs
    done = set(runs.loc[runs["status"] == "done", ["dataset", "method", "seed"]].itertuples(index=False, name=None))
    found: dict[str, dict[str, tuple[int, pd.DataFrame]]] = {}
    for run in evidence.configuration.runs():
        path = run.folder(evidence.results) / decisions.FILE
        methods = found.setdefault(run.dataset, {})
        if run.method not in methods and (run.dataset, run.method, run.seed) in done and path.exists():
            methods[run.method] = run.seed, decisions.read(path)
    holes = [f"{dataset}/{method}" for dataset, method in evidence.outcomes.grid() if method not in found[dataset]]
    return {dataset: methods for dataset, methods in found.items() if methods}, holes


def _packed(dataset: str, frames: Mapping[str, tuple[int, pd.DataFrame]], evidence: Evidence, samples: int) -> str:
    """All that the page knows of a dataset: gzip's compressed JSON, in base64."""
    every = pd.concat([frame for _, frame in frames.values()]).drop_duplicates("sample").sort_values("sample")
    shown = every.iloc[:: -(-len(every) // samples)]
    content = {
        "samples": shown["sample"].tolist(),
        "labels": shown["label"].tolist(),
        "difficulty": _numbers(shown["difficulty"]),
        "groups": shown["group"].astype(str).tolist() if "group" in shown else None,
        **_pictures(dataset, shown["sample"].tolist(), evidence),
        "methods": {method: _method(seed, frame, shown["sample"]) for method, (seed, frame) in frames.items()},
    }
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def _pictures(dataset: str, samples: Sequence[int], evidence: Evidence) -> dict[str, Any]:
    """The classes' names, what the dial measures, and one sheet of all pictures; nothing of these without the data."""
    try:
        source = evidence.dataset(dataset)
    except UserError:  # decisions outlive the images that they were made about
        return {"classes": None, "dial": "difficulty", "sheet": None}
    images = source.test.images[samples]
    if (side := max(images.shape[2:])) > SIDE:
        size = [max(1, length * SIDE // side) for length in images.shape[2:]]
        images = functional.interpolate(images.float(), size, mode="area").round().to(torch.uint8)
    pictures = np.stack([compose(image, source.name) for image in images.numpy()])
    _, height, width, _ = pictures.shape
    rows = -(-len(pictures) // ACROSS)
    sheet = np.zeros((rows * ACROSS, height, width, 3), np.uint8)
    sheet[: len(pictures)] = pictures
    whole = sheet.reshape(rows, ACROSS, height, width, 3).swapaxes(1, 2).reshape(rows * height, ACROSS * width, 3)
    return {
        "classes": list(source.classes),
        "dial": source.difficulty_name or "difficulty",
        "sheet": {"image": encode(whole), "width": width, "height": height, "across": ACROSS, "rows": rows},
    }


def _method(seed: int, frame: pd.DataFrame, samples: pd.Series) -> dict[str, Any]:
    """A run's steps in columns, ordered by sample, operating point (cheapest first) and time."""
    frame = frame[frame["sample"].isin(samples)].astype({"operating_point": str})
    last = frame.groupby(["sample", "operating_point"]).tail(1)
    points = last.groupby("operating_point").agg(macs=("macs", "mean"), knob=("knob", "first")).sort_values("macs")
    counts = frame.pivot_table(index="sample", columns="operating_point", values="step", aggfunc="size", fill_value=0)
    counts = counts.reindex(index=samples, columns=points.index, fill_value=0)
    place = frame["operating_point"].map({name: place for place, name in enumerate(points.index)})
    frame = frame.assign(place=place).sort_values(["sample", "place", "step"])
    names = {name: list(frame[name].cat.categories) for name in ("decision", "choice")}
    best = [np.stack(frame[name])[:, :BEST] for name in ("classes", "probabilities")]
    return {
        "seed": seed,
        "points": [{"name": name, "knob": _number(point["knob"])} for name, point in points.iterrows()],
        "counts": counts.to_numpy().tolist(),
        "macs": frame["macs"].tolist(),
        "classes": best[0].tolist(),
        "probabilities": (1000 * best[1].astype(float)).round().astype(int).tolist(),
        "truth": _of_the_label(frame),
        **{name: {"names": names[name], "codes": frame[name].cat.codes.tolist()} for name in names},
        "numbers": {
            name.removeprefix(decisions.NUMBER): _numbers(frame[name])
            for name in frame
            if name.startswith(decisions.NUMBER)
        },
        "seen": {
            name.removeprefix(decisions.SEEN): _shades(np.stack(frame[name]).astype(float))
            for name in frame
            if name.startswith(decisions.SEEN)
        },
    }


def _of_the_label(frame: pd.DataFrame) -> list[int | None]:
    """The probability of the true class after each step, in thousandths; None where it is not among the best."""
    found = np.stack(frame["classes"]) == frame["label"].to_numpy()[:, None]
    probability = (np.stack(frame["probabilities"]).astype(float) * found).sum(axis=1)
    return [round(1000 * share) if known else None for share, known in zip(probability, found.any(axis=1), strict=True)]


def _shades(values: np.ndarray) -> dict[str, Any]:
    """What an agent saw, [steps, numbers], as bytes from 0, the least of all, to 255; -1 where it saw nothing."""
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    shades = (255 * (values - low) / ((high - low) or 1)).round()
    return {"low": _number(low), "high": _number(high), "rows": np.nan_to_num(shades, nan=-1).astype(int).tolist()}


def _numbers(values: pd.Series) -> list[float | str | None]:
    return [_number(value) for value in values.tolist()]


def _number(value: float) -> float | str | None:
    """Four digits; infinity, which JSON does not know, in words."""
    if math.isnan(value):
        return None
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return float(f"{value:.4g}")
