"""The printed figures on a page: vectors that follow its theme, with a text of what they show."""

import base64
import re
from typing import Any

import matplotlib.image
import pandas as pd

from benchmark import figures
from benchmark.figures import Evidence

#: A larger vector picture is shown by its pixels: thousands of points make it heavy and slow.
LARGEST_SVG = 200_000
#: The order on the page and in Snakemake's report; what is not named follows.
ORDER = (
    "accuracy_compute", "accuracy_latency", "performance_profile", "agent_controls", "price", "compute_difficulty",
    "fog", "layer_choice", "ablations", "training_curves",
)  # fmt: skip
#: The style's neutral colours, and the page's in their place.
_NEUTRAL = {
    "#ffffff": "var(--paper)",
    "#000000": "var(--ink)",
    "#222222": "var(--ink)",
    "#444444": "var(--soft)",
    "#555555": "var(--static)",
    "#e2e2e2": "var(--line)",
    "#a33a00": "var(--bad)",
}


def pictures(evidence: Evidence) -> tuple[list[dict[str, Any]], list[str]]:
    """The figures that were drawn, and the titles of those that had nothing to show."""
    drawn, undrawn = [], []
    for name in ordered(list(figures.applicable(evidence.configuration))):
        base = evidence.folder / "figures" / name
        data = pd.read_parquet(base.with_suffix(".parquet")) if base.with_suffix(".parquet").exists() else None
        if data is None or not len(data):
            undrawn.append(figures.title(name))
            continue
        if name == "gallery":  # has a section of its own
            continue
        svg = base.with_suffix(".svg").read_text(encoding="utf-8")
        height, width = matplotlib.image.imread(base.with_suffix(".png")).shape[:2]
        drawn.append(
            {
                "name": name,
                "title": figures.title(name),
                "caption": figures.caption(name),
                "says": describe(name, data),
                "svg": themed(svg, name) if len(svg) <= LARGEST_SVG else "",
                "image": "" if len(svg) <= LARGEST_SVG else _pixels(base.with_suffix(".png").read_bytes()),
                "width": width // 2,
                "height": height // 2,
                "narrow": width < 1000,  # at the style's 200 dpi: less than five inches
            }
        )
    return drawn, undrawn


def ordered(names: list[str]) -> list[str]:
    """Figures in the order in which they are read."""
    return sorted(names, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))


def themed(svg: str, name: str) -> str:
    """A picture's markup with the page's colours for its neutral ones, and ids that no other picture has.

    What nobody sees is left out: comments, indentation, groups' names, and digits beyond a hundredth of a point.
    """
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r"\s+", " ", svg).replace("> <", "><")
    svg = re.sub(r' (?:d|x|y)="[^"]*"|translate\([^)]*\)', _hundredths, svg)
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg))
    svg = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", svg)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r"#[0-9a-f]{6}\b", lambda found: _NEUTRAL.get(found[0], found[0]), svg)
    # Text without a colour of its own is black.
    return svg.replace("<svg ", '<svg aria-hidden="true" fill="var(--ink)" ', 1)


def _hundredths(found: re.Match[str]) -> str:
    """Coordinates rounded to hundredths."""
    return re.sub(r"-?\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), found[0])


def describe(name: str, data: pd.DataFrame) -> str:
    """What a picture shows, in words, for those who cannot see it."""
    parts = [f"{figures.title(name)}."]
    if name == "accuracy_compute":
        means = data[data["seed"].isna()].sort_values("macs")
        for (dataset, method), curve in means.groupby(["dataset", "method"], sort=False):
            first, last = curve.iloc[0], curve.iloc[-1]
            start = f"{100 * first['accuracy']:.1f}% at {first['macs'] / 1e6:.3g} M MACs"
            end = "" if len(curve) == 1 else f" to {100 * last['accuracy']:.1f}% at {last['macs'] / 1e6:.3g} M"
            parts.append(f"{dataset}, {method}: {start}{end}.")
        return " ".join(parts)
    for column, word in (("dataset", "datasets"), ("method", "methods"), ("policy", "policies")):
        if column in data:
            parts.append(f"Shown {word}: {', '.join(map(str, data[column].unique()))}.")
    return " ".join([*parts, figures.caption(name).partition(". ")[0] + "."])


def _pixels(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()
