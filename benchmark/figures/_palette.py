"""One visual language: what methods, policies and layers look like, in every figure and on every page.

Methods, policies (who decides) and layers have palettes and shapes of their own, so that none can be taken for another.
Every colour has a contrast of at least 3:1 to a white page and to a dark one (WCAG 2.1, 1.4.11), which leaves them all
about equally light; shapes, dashes and hatches tell them apart in grey and for colour-blind readers.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

#: Methods: saturated colours and full shapes. The three cycles have coprime lengths, so that no two of many look alike.
COLOURS = ("#1F77D0", "#D1610A", "#C2479B", "#12885A", "#8565D6", "#D63C45", "#07859A", "#867A00", "#9A6B3F")
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "p", "h", "<", ">")
LINES = ("-", "--", "-.", (0, (1, 1.2)), (0, (4, 1, 1, 1, 1, 1)))
#: Kinds of adaptive networks, each with a place of its own for good, so that it looks the same in all experiments; a
#: name that no longer exists keeps its place.
FAMILIES = tuple(Path(__file__).with_name("families.txt").read_text(encoding="utf-8").split())
#: Static networks are the ground that the others are seen against.
STATIC = "#555555"
#: What is missing is said in this colour.
HOLE = "#A33A00"

#: Who decides in an agent's place: muted colours and thin shapes. Those that look at the sample are dashed.
POLICIES: Mapping[str, tuple[str, str, Any]] = {
    "random": ("#7A7F87", "x", (0, (1, 1.2))),
    "entropy": ("#A9762F", "2", "--"),
    "always": ("#6E86A8", "|", "-"),
    "never": ("#8F6F9E", "_", "-"),
    "schedule": ("#5C8A7A", "+", "-"),
    "shuffled": ("#B0655E", "1", (0, (1, 1.2))),
    "one_order": ("#8A6FB0", ".", "-."),
    "max_probability": ("#7E8A3C", "3", "-."),
}
_OTHER_POLICY = ("#8A6A6A", "4", ":")

#: What an agent does: grey for the answer, and a colour and a hatch for each layer.
_ANSWER = "#8A9099"
_LAYERS = ("#3F8396", "#B3674F", "#6C79B8", "#8A7D35", "#A2689F", "#4F8A5C")
_HATCHES = ("", "////", "....", "\\\\\\\\", "xxxx", "----", "++++")


def cycled(place: int) -> dict[str, Any]:
    """Keyword arguments of `Axes.plot` that tell the line in this place from the others."""
    return {
        "color": COLOURS[place % len(COLOURS)],
        "marker": MARKERS[place % len(MARKERS)],
        "linestyle": LINES[place % len(LINES)],
    }


def method_looks(methods: Sequence[str], static: Iterable[str] = ()) -> dict[str, dict[str, Any]]:
    """Keyword arguments of `Axes.plot` for each method's line.

    A method called like its kind has its kind's look in every experiment. Its variants (`dynalay-picard`) share its
    colour and differ in shape and dashes. Other names follow after all kinds, in their order.
    """
    static = set(static)
    looks: dict[str, dict[str, Any]] = {}
    for place, method in enumerate(method for method in methods if method in static):
        marker = MARKERS[place % len(MARKERS)]
        looks[method] = {"color": STATIC, "marker": marker, "linestyle": "-", "markerfacecolor": "white"}
    others, of_family = len(FAMILIES), dict.fromkeys(FAMILIES, 0)
    for method in (method for method in methods if method not in static):
        family = _family(method)
        if method in FAMILIES:
            looks[method] = cycled(FAMILIES.index(method)) | {"linestyle": "-"}
        elif family is None:
            looks[method] = cycled(others)
            others += 1
        else:
            of_family[family] += 1
            place = FAMILIES.index(family)
            shifted = cycled(place + of_family[family])
            looks[method] = shifted | {"color": cycled(place)["color"], "linestyle": LINES[1 + of_family[family] % 4]}
    return looks


def _family(method: str) -> str | None:
    """The kind that a label begins with."""
    return next((family for family in FAMILIES if method.startswith(f"{family}-")), None)


def policy_look(policy: str) -> dict[str, Any]:
    """Keyword arguments of `Axes.plot` for the line of a control that decides in an agent's place."""
    color, marker, line = POLICIES.get(policy, _OTHER_POLICY)
    return {"color": color, "marker": marker, "linestyle": line, "markeredgewidth": 1.0}


def layer_colour(layer: int) -> str:
    """The colour of a layer, counted from 1."""
    return _LAYERS[(layer - 1) % len(_LAYERS)]


def layer_look(layer: int) -> dict[str, Any]:
    """Keyword arguments of `Axes.plot` for a layer's line."""
    return {"color": layer_colour(layer), "marker": "ovsd*8"[(layer - 1) % 6], "linestyle": LINES[(layer - 1) % 5]}


def action_look(action: int) -> dict[str, Any]:
    """Keyword arguments of bars and areas that show an agent's action; 0 is the answer, k is layer k."""
    return {
        "facecolor": layer_colour(action) if action else _ANSWER,
        "hatch": _HATCHES[action % len(_HATCHES)],
        "edgecolor": "white",
        "linewidth": 0.4,
    }


def contrast(one: str, other: str) -> float:
    """The contrast of two colours, 1 to 21, as WCAG 2.1 defines it."""
    darker, lighter = sorted(_luminance(colour) for colour in (one, other))
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.03928 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
