"""How figures look: one width, one set of method colours, markers and lines, one grid of panels, one legend."""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

#: Inches: a column, and the text width of a page.
WIDTHS = {"column": 3.3, "page": 7.0}

# Okabe and Ito's colours (colour-blind safe), without yellow and black, which vanish on white and on dark pages;
# ordered so that neighbours also differ in lightness.  Cycles of coprime lengths: no two of 20 methods look alike.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", "-.", (0, (1, 1.2)), (0, (4, 1, 1, 1, 1, 1)))
Name = TypeVar("Name", str, tuple[str, ...])


def cycled(place: int) -> dict[str, Any]:
    """Keyword arguments of `Axes.plot` that tell the line in this place from the others."""
    return {
        "color": COLOURS[place % len(COLOURS)],
        "marker": MARKERS[place % len(MARKERS)],
        "linestyle": LINES[place % len(LINES)],
    }


#: Static networks are the ground that the others are seen against.
STATIC = "#555555"


class Style:
    """The look of one experiment's figures.

    Args:
        methods: every method of the experiment, in the configuration's order, so that a method looks the same in all
            figures, also in those that show few.
        static: those of `methods` that always spend the same compute; they are drawn grey.
        width: one of `WIDTHS`.
    """

    def __init__(self, methods: Sequence[str], static: Iterable[str] = (), width: str = "page") -> None:
        self.width = WIDTHS[width]
        static = set(static)
        self._looks: dict[str, dict[str, Any]] = {}
        for place, method in enumerate(method for method in methods if method in static):
            marker = MARKERS[place % len(MARKERS)]
            self._looks[method] = {"color": STATIC, "marker": marker, "linestyle": "-", "markerfacecolor": "white"}
        for place, method in enumerate(method for method in methods if method not in static):
            self._looks[method] = cycled(place)

    def look(self, method: str) -> dict[str, Any]:
        """Keyword arguments of `Axes.plot` for a method's line."""
        return self._looks[method]

    def policy_look(self, policy: str) -> dict[str, Any]:
        """Keyword arguments of `Axes.plot` for a policy's line: the method's own, or a control."""
        order = ("own", "random", "entropy", "always", "never")
        place = order.index(policy) if policy in order else len(order)
        return cycled(place)

    def panels(
        self, names: Sequence[Name], ratio: float = 0.72, abreast: int = 3, **subplots: Any
    ) -> tuple[Figure, dict[Name, Axes]]:
        """A figure with one titled panel a name, `abreast` of them on a page and one in a column.

        Args:
            names: what the panels show, distinct; a tuple's parts are joined into the title.
            ratio: a panel's height, by its width.
            abreast: panels in a row of a page.
            subplots: passed on to `Figure.subplots`.
        """
        abreast = min(len(names), abreast if self.width > WIDTHS["column"] else 1)
        rows = math.ceil(len(names) / abreast)
        # A lone panel on a page would be a poster: it keeps the size that it has in a column.
        width = self.width if abreast > 1 else WIDTHS["column"]
        figure = Figure(figsize=(width, rows * (ratio * width / abreast + 0.25)), layout="constrained")
        axes = figure.subplots(rows, abreast, squeeze=False, **subplots).flat
        for unused in axes[len(names) :]:
            unused.remove()
        panels = dict(zip(names, axes, strict=False))
        for name, panel in panels.items():
            panel.set_title(name if isinstance(name, str) else ": ".join(map(str, name)))
        return figure, panels

    def legend(self, figure: Figure, handles: Sequence[Line2D], **legend: Any) -> None:
        """One legend for all panels, below them, in as many columns as fit."""
        longest = max((len(str(handle.get_label())) for handle in handles), default=1)
        columns = max(1, int(figure.get_figwidth() / (0.45 + 0.062 * longest)))
        figure.legend(handles=handles, loc="outside lower center", ncols=min(columns, len(handles)), **legend)

    def handle(self, method: str, **line: Any) -> Line2D:
        """A method's entry in a legend."""
        return Line2D([], [], **(self.look(method) | {"label": method} | line))


@contextmanager
def applied() -> Iterator[None]:
    """Draw and save with the suite's style file, and leave matplotlib's settings as they were."""
    with mpl.rc_context(fname=Path(__file__).parents[1] / "style.mplstyle"):
        yield


def draw_runs(panel: Axes, runs: pd.DataFrame, x: str, y: str, look: dict[str, Any]) -> None:
    """One method's course of `y` over `x`: a thin line for each seed, a thick one with markers for their mean."""
    for _, run in runs.groupby("seed"):
        panel.plot(run[x], run[y], color=look["color"], linewidth=0.4, alpha=0.6)
    mean = runs.groupby(x)[y].mean()
    panel.plot(mean.index, mean, markevery=max(1, len(mean) // 6), **look)


def shares(axis: Any) -> None:
    """Label an axis of shares in [0, 1] in percent."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g}"))


def counts(axis: Any) -> None:
    """Label an axis of counts as 250k, 1.5M, 2G."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))


def short(value: float) -> str:
    """A count in three digits: 250k, 1.5M, 2G.

    Example:
        >>> short(1_530_000), short(12), short(0)
        ('1.53M', '12', '0')
    """
    for scale, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= scale * 0.9995:
            return f"{value / scale:.3g}{letter}"
    return f"{value:.3g}"


def action_name(action: int) -> str:
    """What an agent's action is called in pictures: 0 is the direct action, k re-evaluates layer k."""
    return "answer" if action == 0 else f"layer {action}"


def draw_stack(panel: Axes, shares_of: pd.DataFrame) -> None:
    """Stacked areas, over the index, of the columns of `shares_of`, which are actions."""
    base = 0.0 * shares_of.sum(axis=1)
    for action in shares_of.columns:
        top = base + shares_of[action]
        panel.fill_between(shares_of.index, base, top, label=action_name(action), **action_look(action))
        base = top


def action_look(action: int) -> dict[str, Any]:
    """Keyword arguments of bars and areas that show an agent's action: hatched, to be told apart in grey."""
    hatches = ("", "////", "....", "\\\\\\\\", "xxxx", "----")
    colours = ("#d9d9d9", *COLOURS)
    return {
        "facecolor": colours[action % len(colours)],
        "hatch": hatches[action % len(hatches)],
        "edgecolor": "white",
        "linewidth": 0.4,
    }
