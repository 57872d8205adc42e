"""The data of the interactive chart: curves, seeds and the static frontier, as in the printed figure."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from benchmark import figures
from benchmark.figures import Evidence, Style
from benchmark.figures._means import mean_curves
from benchmark.figures._style import few_runs

#: matplotlib's markers in the words of Chart.js, with a turn in degrees, and as SVG paths in a box of 30 by 12.
_POINTS: Mapping[str, tuple[str, int, str]] = {
    "o": ("circle", 0, "M15 2a4 4 0 1 0 .01 0z"),
    "s": ("rect", 0, "M11.3 2.3h7.4v7.4h-7.4z"),
    "^": ("triangle", 0, "M15 1.5l4.5 8h-9z"),
    "D": ("rectRot", 0, "M15 1l5 5-5 5-5-5z"),
    "v": ("triangle", 180, "M15 10.5l-4.5-8h9z"),
    "P": ("cross", 0, "M15 1v10M10 6h10"),
    "X": ("crossRot", 0, "M11 2l8 8M19 2l-8 8"),
    "p": ("star", 0, "M15 1v10M10.7 3.5l8.6 5M10.7 8.5l8.6-5"),
    "h": ("rectRounded", 0, "M12.5 2.3h5q1.2 0 1.2 1.2v5q0 1.2-1.2 1.2h-5q-1.2 0-1.2-1.2v-5q0-1.2 1.2-1.2z"),
    "<": ("triangle", 270, "M11 6l8-4.5v9z"),
    ">": ("triangle", 90, "M19 6l-8-4.5v9z"),
}
#: matplotlib's lines as dashes, in pixels.
_DASHES = {"-": [], "--": [7, 4], "-.": [8, 3, 2, 3]}


def chart(evidence: Evidence) -> dict[str, Any]:
    """Curves against MACs, and against each latency that was measured."""
    configuration, outcomes = evidence.configuration, evidence.outcomes
    compute = figures.find("accuracy_compute").data(evidence)
    axes = [{"key": "macs", "label": "MACs per sample", "unit": "MACs"}]
    curves, holes = [], {"macs": _holes(compute)}
    if len(compute):
        means = compute[compute["seed"].isna()]
        along = means.drop(columns="knob").merge(_knobs(evidence), on=["dataset", "method", "macs"], how="left")
        curves += _curves(along, "macs", "macs")
    latency = figures.find("accuracy_latency").data(evidence)
    if len(latency):
        for (batch, device), timed in latency.groupby(["batch_size", "device"], sort=False):
            key = f"latency-{batch}-{device}"
            axes.append({"key": key, "label": f"milliseconds per sample, batch {batch}, {device}", "unit": "ms"})
            holes[key] = _holes(timed)
            curves += _curves(timed.assign(knob=np.nan), "milliseconds_per_sample", key)
    shown = {curve["method"] for curve in curves}
    style = Style(configuration.methods, outcomes.static_methods)
    of_reference = [c for c in curves if c["method"] == configuration.reference and c["axis"] == "macs"]
    datasets = [dataset for dataset in configuration.datasets if any(c["dataset"] == dataset for c in curves)]
    return {
        "axes": axes,
        "curves": curves,
        "seeds": _seeds(compute),
        "frontier": _frontier(compute),
        "datasets": datasets,
        "first": most_telling(curves, datasets),
        "looks": {
            method: look(style.look(method), method in outcomes.static_methods)
            for method in configuration.methods
            if method in shown
        },
        "holes": holes,
        "reference": {curve["dataset"]: curve["points"][0]["x"] for curve in of_reference},
    }


def look(style: Mapping[str, Any], static: bool) -> dict[str, Any]:
    """A method's line in the words of Chart.js and of SVG."""
    line = style["linestyle"]
    point, rotation, shape = _POINTS[style["marker"]]
    return {
        "color": style["color"],
        "point": point,
        "shape": shape,
        "rotation": rotation,
        "dash": _DASHES[line] if isinstance(line, str) else [3 * length for length in line[1]],
        "static": static,
        "thin": point in ("cross", "crossRot", "star"),
    }


def most_telling(curves: Iterable[Mapping[str, Any]], datasets: list[str]) -> str:
    """Where some method's accuracy changes most along its curve: compute matters there."""
    changes = dict.fromkeys(datasets, 0.0)
    for curve in curves:
        heights = [point["y"] for point in curve["points"]]
        changes[curve["dataset"]] = max(changes[curve["dataset"]], max(heights) - min(heights))
    return max(datasets, key=changes.__getitem__, default="")


def _knobs(evidence: Evidence) -> pd.DataFrame:
    """What the operating point's knob is along each mean curve: averaged at the same places as the accuracy."""
    points = evidence.overlaid(evidence.outcomes.own_points).dropna(subset="knob")
    # The mean of thresholds of which one is infinite says nothing.
    points = points.assign(knob=points["knob"].where(np.isfinite(points["knob"])))
    return mean_curves(points, ["dataset", "method"], "macs", "knob")[["dataset", "method", "macs", "knob"]]


def _seeds(compute: pd.DataFrame) -> list[dict[str, Any]]:
    """Single seeds, where the printed figure shows them too."""
    single = compute[compute["seed"].notna()] if len(compute) else compute
    if single.empty:
        return []
    single = single.groupby("dataset", sort=False).filter(few_runs)
    return [
        {
            "dataset": dataset,
            "method": method,
            "points": [
                {"x": round(p["macs"]), "y": round(p["accuracy"], 5)}
                for p in points[["macs", "accuracy"]].to_dict("records")
            ],
        }
        for (dataset, method), points in single.groupby(["dataset", "method"], sort=False)
    ]


def _frontier(compute: pd.DataFrame) -> dict[str, list[dict[str, float]]]:
    """The static frontier of each dataset; level to the right of its best network."""
    if compute.empty:
        return {}
    found = {}
    for dataset, means in compute[compute["seed"].isna()].groupby("dataset", sort=False):
        best = means[means["frontier"].astype(bool)].sort_values("macs")
        line = [{"x": p["macs"], "y": p["accuracy"]} for p in best[["macs", "accuracy"]].to_dict("records")]
        if line:
            found[str(dataset)] = [*line, {"x": max(means["macs"].max(), line[-1]["x"]), "y": line[-1]["y"]}]
    return found


def _holes(curves: pd.DataFrame) -> dict[str, str]:
    """By dataset, which methods' curves are means of fewer seeds than were planned."""
    if curves.empty:
        return {}
    lacking = curves[curves["seeds"] < curves["planned"]].drop_duplicates(["dataset", "method"])
    return {
        dataset: ", ".join(f"{row.method} ({row.seeds:.0f} of {row.planned})" for row in rows.itertuples())
        for dataset, rows in lacking.groupby("dataset", sort=False)
    }


def _curves(means: pd.DataFrame, x: str, axis: str) -> list[dict[str, Any]]:
    means = means.assign(low=means["low"].clip(0, 1), high=means["high"].clip(0, 1))
    return [
        {
            "axis": axis,
            "dataset": dataset,
            "method": method,
            "points": [
                {"x": point[x], "y": point["accuracy"], "low": point["low"], "high": point["high"], "at": point["knob"]}
                for point in curve.sort_values(x)[[x, "accuracy", "low", "high", "knob"]].round(6).to_dict("records")
            ],
        }
        for (dataset, method), curve in means.groupby(["dataset", "method"], sort=False)
    ]
