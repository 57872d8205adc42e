"""What the page says, section by section, and the one file made of it.

The template holds the words and the order; this module only gathers.  All that a browser would fetch (style, script,
chart library, pictures) is written into the page.
"""

import base64
import itertools
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import matplotlib.image
import pandas as pd

from benchmark import figures
from benchmark.analysis.formatting import Cell, Metric, Table, probability, significant
from benchmark.analysis.measures import MEASURES
from benchmark.analysis.tables import make
from benchmark.experiment import provenance
from benchmark.figures import Evidence, Style, gallery
from benchmark.report import tuning

_HERE = Path(__file__).parent
#: A larger vector picture is shown by its pixels: thousands of points make it heavy and slow.
LARGEST_SVG = 200_000
#: matplotlib's markers in the words of Chart.js, and as SVG paths in a box of 30 by 12.
_POINTS = {
    "o": ("circle", "M15 2a4 4 0 1 0 .01 0z"),
    "s": ("rect", "M11.3 2.3h7.4v7.4h-7.4z"),
    "^": ("triangle", "M15 1.5l4.5 8h-9z"),
    "D": ("rectRot", "M15 1l5 5-5 5-5-5z"),
    "v": ("triangle", "M15 10.5l-4.5-8h9z"),
    "P": ("cross", "M15 1v10M10 6h10"),
    "X": ("crossRot", "M11 2l8 8M19 2l-8 8"),
}
#: matplotlib's lines as dashes, in pixels.
_DASHES = {"-": [], "--": [7, 4], "-.": [8, 3, 2, 3]}


def render(evidence: Evidence) -> str:
    """The page of an experiment, as HTML."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["json"] = _json
    configuration = evidence.configuration
    runs = _runs(evidence)
    drawn, undrawn = _figures(evidence)
    library = (_HERE / "vendor" / "chart.umd.min.js").read_text(encoding="utf-8")
    return environment.get_template("page.html").render(
        experiment=configuration.experiment,
        datasets=configuration.datasets,
        methods=configuration.methods,
        seeds=configuration.seeds,
        reference=configuration.reference,
        runs=runs,
        done=sum(run["status"] == "done" for run in runs),
        holes=[run for run in runs if run["status"] != "done"],
        dirty=sum(bool(run["dirty"]) for run in runs),
        statuses=sorted({run["status"] for run in runs}),
        provenance=_provenance(evidence),
        verdicts=_verdicts(evidence.folder / "verdicts.json"),
        chart=_chart(evidence),
        tables=[*map(_table, make(evidence.outcomes)), *tuning.tables(configuration.tuned)],
        gallery=_gallery(evidence),
        figures=drawn,
        undrawn=undrawn,
        code=provenance.code(),
        css=(_HERE / "page.css").read_text(encoding="utf-8"),
        script=(_HERE / "page.js").read_text(encoding="utf-8"),
        # Developer tools would look for the source map beside the page.
        chart_library=re.sub(r"^//# sourceMappingURL=.*$", "", library, flags=re.MULTILINE),
        chart_version=re.search(r"Chart\.js v([\d.]+)", library)[1],  # type: ignore[index]
    )


def _json(value: Any) -> str:
    """JSON that may stand in a script element: no text of a result can end it, or begin markup."""
    text = json.dumps(_plain(value), separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _plain(value: Any) -> Any:
    """`value` with NaN and infinities, which JSON does not know, as null."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _runs(evidence: Evidence) -> list[dict[str, Any]]:
    """Every expected run, with what its row shows; what is unknown is an empty text."""
    table = evidence.outcomes.runs
    table = table.astype(object).where(table.notna(), "")
    return [
        {
            **row,
            "name": f"{row['dataset']}/{row['method']}/seed{row['seed']}",
            "training_macs_text": "" if row["training_macs"] == "" else significant(row["training_macs"]),
            "preemptions": "" if row["preemptions"] == "" else int(row["preemptions"]),
        }
        for row in table.to_dict("records")
    ]


def _provenance(evidence: Evidence) -> dict[str, Any]:
    """The run.json of every run that has one, by the run's name."""
    files = {str(run): provenance.read(run.folder(evidence.results)) for run in evidence.configuration.runs()}
    return {name: content for name, content in files.items() if content}


def _verdicts(path: Path) -> list[dict[str, Any]]:
    """Each claim with its findings on the datasets, drawn on one scale; none where nothing was judged."""
    judged = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    claims = []
    for _, group in itertools.groupby(judged, key=lambda found: found["claim"]):
        findings = list(group)
        first = findings[0]
        margin = first["margin"]
        text = MEASURES[first["metric"]].text
        reached = [found[end] for found in findings for end in ("low", "high", "effect") if found[end] is not None]
        low, high = min([margin, 0, *reached]), max([margin, 0, *reached])
        span = (high - low) or 1.0

        def place(value: float, low: float = low, span: float = span) -> float:
            """Where a value stands on the scale, in percent of its width."""
            return round(100 * (0.04 + 0.92 * (value - low) / span), 2)

        claims.append(
            {
                **{name: first[name] for name in ("claim", "quote", "hypothesis", "method")},
                "margin": text(margin) if margin else "0",
                "margin_place": place(margin),
                "direction": {"greater": "above", "less": "below"}[first["direction"]],
                "findings": [
                    {
                        **found,
                        "class": found["verdict"].replace(" ", "-"),
                        "effect_text": found["reads"] or "",
                        "p": _p_value(found),
                        "interval": "" if found["low"] is None else f"{text(found['low'])} to {text(found['high'])}",
                        "places": [
                            None if found[end] is None else place(found[end]) for end in ("low", "effect", "high")
                        ],
                    }
                    for found in findings
                ],
            }
        )
    return claims


def _p_value(found: Mapping[str, Any]) -> str:
    """The p-value that decided: for the claim, or where it is shown to be false, against it."""
    against = found["verdict"] == "not supported"
    p = found["p_against_holm" if against else "p_holm"]
    if p is None:
        return ""
    text = probability(p)
    return ("p " if text.startswith("<") else "p = ") + text + (" against" if against else "")


def _chart(evidence: Evidence) -> dict[str, Any]:
    """Curves for the interactive chart: against MACs, and against each latency that was measured."""
    configuration = evidence.configuration
    style = Style(configuration.methods, evidence.outcomes.static_methods)
    compute = figures.find("accuracy_compute").data(evidence)
    axes = [{"key": "macs", "label": "MACs per sample"}]
    curves, holes = [], {"macs": _holes(compute)}
    if len(compute):
        curves += _curves(compute[compute["seed"].isna()], "macs", "macs")
    latency = figures.find("accuracy_latency").data(evidence)
    if len(latency):
        for (batch, device), timed in latency.groupby(["batch_size", "device"], sort=False):
            key = f"latency-{batch}-{device}"
            axes.append({"key": key, "label": f"milliseconds per sample, batch {batch}, {device}"})
            holes[key] = _holes(timed)
            curves += _curves(timed, "milliseconds_per_sample", key)
    shown = {curve["method"] for curve in curves}
    of_reference = [c for c in curves if c["method"] == configuration.reference and c["axis"] == "macs"]
    return {
        "axes": axes,
        "curves": curves,
        "datasets": [dataset for dataset in configuration.datasets if any(c["dataset"] == dataset for c in curves)],
        "looks": {
            method: _look(style.look(method), method in evidence.outcomes.static_methods)
            for method in configuration.methods
            if method in shown
        },
        "holes": holes,
        "reference": {curve["dataset"]: curve["points"][0]["x"] for curve in of_reference},
    }


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
                {"x": point[x], "y": point["accuracy"], "low": point["low"], "high": point["high"]}
                for point in curve[[x, "accuracy", "low", "high"]].round(6).to_dict("records")
            ],
        }
        for (dataset, method), curve in means.groupby(["dataset", "method"], sort=False)
    ]


def _look(look: Mapping[str, Any], static: bool) -> dict[str, Any]:
    line = look["linestyle"]
    point, shape = _POINTS[look["marker"]]
    return {
        "color": look["color"],
        "point": point,
        "shape": shape,
        "rotation": 180 if look["marker"] == "v" else 0,
        "dash": _DASHES[line] if isinstance(line, str) else [3 * length for length in line[1]],
        "static": static,
    }


def _table(table: Table) -> dict[str, Any]:
    return {
        "title": table.name.replace("_", " ").capitalize(),
        "caption": table.caption,
        "headings": ["dataset", "method", *(metric.title for metric in table.metrics.values())],
        "rows": [
            {
                "dataset": dataset,
                "method": method,
                "cells": [_cell(cells.get(name), metric) for name, metric in table.metrics.items()],
            }
            for (dataset, method), cells in table.cells.items()
        ],
    }


def _cell(cell: Cell | None, metric: Metric) -> dict[str, Any]:
    """A cell's value to sort by, its text and interval, and whether it is a hole."""
    if cell is None:
        return {"value": "", "text": "", "interval": "", "hole": False}
    text, bracket, interval = cell.text(metric).partition(" [")
    value = "" if cell.estimate is None else float(cell.estimate.value)
    return {"value": value, "text": text, "interval": bracket.strip() + interval, "hole": cell.estimate is None}


def _gallery(evidence: Evidence) -> list[dict[str, Any]]:
    """Groups of samples, as in the figure; from the data that its picture was drawn from."""
    path = evidence.folder / "figures" / "gallery.parquet"
    if not path.exists():
        return []
    groups = []
    for heading, samples in gallery.groups(pd.read_parquet(path)):
        shown = samples.assign(macs=samples["macs"].map(significant), path=samples["path"].map(gallery.path_text))
        rows = shown.to_dict("records")
        groups.append({"heading": heading, "dataset": rows[0]["dataset"], "method": rows[0]["method"], "samples": rows})
    return groups


def _figures(evidence: Evidence) -> tuple[list[dict[str, Any]], list[str]]:
    """The figures that were drawn, and the titles of those that had nothing to show."""
    drawn, undrawn = [], []
    for name in figures.applicable(evidence.configuration):
        base = evidence.folder / "figures" / name
        if not base.with_suffix(".parquet").exists() or not len(pd.read_parquet(base.with_suffix(".parquet"))):
            undrawn.append(figures.title(name))
        elif name != "gallery":  # has a section of its own
            height, width = matplotlib.image.imread(base.with_suffix(".png")).shape[:2]
            drawn.append(
                {
                    "name": name,
                    "title": figures.title(name),
                    "caption": figures.caption(name),
                    "image": _picture(base),
                    "width": width // 2,
                    "height": height // 2,
                    "narrow": width < 1000,  # at the style's 200 dpi: less than five inches
                }
            )
    return drawn, undrawn


def _picture(base: Path) -> str:
    """A picture as a data URI: vectors, or pixels where the vectors are many."""
    svg = base.with_suffix(".svg").read_bytes()
    if len(svg) <= LARGEST_SVG:
        return "data:image/svg+xml;base64," + base64.b64encode(svg).decode()
    return "data:image/png;base64," + base64.b64encode(base.with_suffix(".png").read_bytes()).decode()
