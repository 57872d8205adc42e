"""Verdict cards: each claim with its findings on the datasets, drawn on one axis with zero and the margin."""

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmark.analysis.formatting import probability
from benchmark.analysis.measures import MEASURES


def read(path: Path) -> list[dict[str, Any]]:
    """The verdicts that `python -m benchmark verdicts` wrote; none where nothing was judged."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


def cards(judged: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One card a claim."""
    return [_card(list(group)) for _, group in itertools.groupby(judged, key=lambda found: found["claim"])]


def _card(findings: list[dict[str, Any]]) -> dict[str, Any]:
    first = findings[0]
    margin, text = first["margin"], MEASURES[first["metric"]].text
    reached = [found[end] for found in findings for end in ("low", "high", "effect") if found[end] is not None]
    low, high = min([margin, 0, *reached]), max([margin, 0, *reached])
    span = (high - low) or 1.0

    def place(value: float | None) -> float | None:
        """Where a value stands on the axis, in percent of its width."""
        return None if value is None else round(100 * (0.05 + 0.9 * (value - low) / span), 2)

    marks = [{"place": place(0), "text": "0", "below": False}]
    if margin:  # where the two labels would touch, the margin's stands below
        close = abs(place(margin) - place(0)) < 25  # type: ignore[operator]
        marks.append({"place": place(margin), "text": f"margin {text(margin)}", "below": close})
    return {
        **{name: first[name] for name in ("claim", "quote", "hypothesis", "method")},
        "margin": text(margin) if margin else "0",
        "margin_place": place(margin),
        "zero_place": place(0),
        "good": "right" if first["direction"] == "greater" else "left",
        "direction": {"greater": "above", "less": "below"}[first["direction"]],
        "marks": marks,
        "two_lines": any(mark["below"] for mark in marks),
        "findings": [
            {
                **found,
                "class": found["verdict"].replace(" ", "-"),
                "effect_text": found["reads"] or "",
                "p": _p_value(found),
                "interval": "" if found["low"] is None else f"{text(found['low'])} to {text(found['high'])}",
                "places": [place(found[end]) for end in ("low", "effect", "high")],
            }
            for found in findings
        ],
    }


def _p_value(found: Mapping[str, Any]) -> str:
    """The p-value that decided: for the claim, or where it is shown to be false, against it."""
    against = found["verdict"] == "not supported"
    p = found["p_against_holm" if against else "p_holm"]
    if p is None:
        return ""
    text = probability(p)
    return ("p " if text.startswith("<") else "p = ") + text + (" against" if against else "")
