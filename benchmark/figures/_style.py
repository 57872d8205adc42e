"""How figures look: one width, one set of method colours, markers and lines, one grid of panels, one legend."""

import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis, XAxis
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, NullFormatter

#: Inches: a column, and the text width of a page.
WIDTHS = {"column": 3.3, "page": 7.0}

# Okabe and Ito's colours (colour-blind safe), without yellow and black, which vanish on white and on dark pages;
# ordered so that neighbours also differ in lightness.  Cycles of coprime lengths: no two of 20 methods look alike.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", "-.", (0, (1, 1.2)), (0, (4, 1, 1, 1, 1, 1)))
#: Fonts for characters that the style's own font lacks, as far as they are installed. The last one comes with
#: matplotlib and has a box for every script.
FALLBACK_FONTS = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "WenQuanYi Zen Hei", "PingFang SC",
    "Hiragino Sans GB", "Microsoft YaHei", "Arial Unicode MS", "Noto Sans", "Noto Sans Devanagari", "Noto Emoji",
    "Unifont", "Last Resort High-Efficiency",
)  # fmt: skip
#: What is missing is said in this colour.
HOLE = "#A33A00"


def cycled(place: int) -> dict[str, Any]:
    """Keyword arguments of `Axes.plot` that tell the line in this place from the others."""
    return {
        "color": COLOURS[place % len(COLOURS)],
        "marker": MARKERS[place % len(MARKERS)],
        "linestyle": LINES[place % len(LINES)],
    }


#: Who decides, in the legend's order; what is recorded as a method's own policy is the agent here.
POLICIES = ("agent", "random", "entropy", "always", "never", "schedule", "shuffled", "max_probability")
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
        """Keyword arguments of `Axes.plot` for a policy's line: the agent's, or a control's."""
        return cycled(POLICIES.index(policy) if policy in POLICIES else len(POLICIES))

    def panels(
        self, data: pd.DataFrame, by: Sequence[str] = ("dataset",), per_row: int = 3, **subplots: Any
    ) -> tuple[Figure, list[tuple[Axes, pd.DataFrame]]]:
        """A figure with one titled panel for each value of the columns `by`, and the rows of `data` that belong there.

        Args:
            data: what is to be drawn.
            by: columns of text.
            per_row: panels in a row of a page; in a column there is one.
            subplots: passed on to `Figure.subplots`.
        """
        groups = list(data.groupby(list(by), sort=False))
        columns = min(len(groups), per_row if self.width > WIDTHS["column"] else 1)
        rows = math.ceil(len(groups) / columns)
        # A single panel as wide as a page would be too large: it keeps the size that it has in a column.
        width = self.width if columns > 1 else WIDTHS["column"]
        figure = Figure(figsize=(width, rows * (0.72 * width / columns + 0.25)), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False, **subplots).flat
        for unused in axes[len(groups) :]:
            unused.remove()
        panels = []
        for panel, (name, shown) in zip(axes, groups, strict=False):
            panel.set_title(": ".join(name))
            if "planned" in shown:
                _note_holes(panel, shown, room=width / columns - 0.5)
            panels.append((panel, shown))
        return figure, panels

    def legend(self, figure: Figure, handles: Sequence[Artist]) -> None:
        """One legend for all panels, above them, row by row, as many in a row as fit; the figure grows by its height.

        Beside a lone panel on a page, where above it the legend would be more than half as high as the panel.
        """
        widths = [0.46 + 0.055 * len(str(handle.get_label())) for handle in handles]
        one_row = sum(widths) < 0.96 * figure.get_figwidth()
        columns = len(handles) if one_row else max(1, int(figure.get_figwidth() / max(widths)))
        height = 0.16 * math.ceil(len(handles) / columns)
        if height > figure.get_figheight() / 2 and figure.get_figwidth() < self.width:
            figure.set_size_inches(self.width, max(figure.get_figheight(), 0.16 * len(handles) + 0.3))
            figure.legend(handles=handles, loc="outside right upper")
            return
        figure.set_figheight(figure.get_figheight() + height)
        by_column = [handle for first in range(columns) for handle in handles[first::columns]]
        figure.legend(handles=by_column, loc="outside upper left", ncols=columns)
        if height > figure.get_figheight() / 3:  # so high that it would reach a label in the figure's middle
            figure.supylabel(figure.get_supylabel(), y=0.5 * (1 - height / figure.get_figheight()))

    def handle(self, method: str, **line: Any) -> Line2D:
        """A method's entry in a legend."""
        return Line2D([], [], **(self.look(method) | {"label": method} | line))


def per_agent(data: pd.DataFrame) -> list[str]:
    """The columns that make up the panels of a figure of agents: the method's name only where there are several."""
    return ["dataset", "method"] if len(data["method"].unique()) > 1 else ["dataset"]


def whose(data: pd.DataFrame) -> str:
    """The name of the one method in a figure of agents, in brackets, for an axis label; else nothing."""
    return f" ({data['method'].iloc[0]})" if len(data["method"].unique()) == 1 else ""


@contextmanager
def applied() -> Iterator[None]:
    """Draw and save with the suite's style file, and leave matplotlib's settings as they were."""
    with mpl.rc_context(fname=Path(__file__).with_name("style.mplstyle")):
        installed = {font.name for font in fontManager.ttflist}
        fallbacks = [name for name in FALLBACK_FONTS if name in installed]
        mpl.rcParams["font.family"] = [*mpl.rcParams["font.sans-serif"], *fallbacks]
        log = logging.getLogger("matplotlib.font_manager")
        level = log.level
        log.setLevel(logging.ERROR)  # it says of each fallback that it has no bold face
        try:
            yield
        finally:
            log.setLevel(level)


def _note_holes(panel: Axes, rows: pd.DataFrame, room: float) -> None:
    """Say, at the panel's upper right, which methods in `rows` have fewer `seeds` than were `planned`.

    Beside the panel's title where both fit into the `room` (in inches), and otherwise above it.
    """
    lacking = rows[rows["seeds"] < rows["planned"]].drop_duplicates("method")
    notes = [f"{row.method}: {row.seeds:.0f} of {row.planned} seeds" for row in lacking.itertuples()]
    text = ", ".join(notes) if len(notes) < 2 else f"{len(notes)} methods lack seeds"
    if notes and 0.07 * len(panel.get_title(loc="left")) + 0.055 * len(text) > room:
        text += "\n"
    panel.set_title(text, loc="right", color=HOLE, fontsize=7, weight="normal")


def draw_runs(panel: Axes, runs: pd.DataFrame, x: str, y: str, look: dict[str, Any]) -> None:
    """One method's course of `y` over `x`: a thin line for each seed, a thick one with markers for their mean."""
    for _, run in runs.groupby("seed"):
        panel.plot(run[x], run[y], color=look["color"], linewidth=0.4, alpha=0.6)
    mean = runs.groupby(x)[y].mean()
    panel.plot(mean.index, mean, markevery=max(1, len(mean) // 6), **look)


def band(
    panel: Axes, x: pd.Series, intervals: pd.DataFrame, look: dict[str, Any], within: tuple[Any, Any] = (0.0, 1.0)
) -> None:
    """Shade the `intervals`, `low` to `high`, cut where they leave the possible range `within` (of shares: [0, 1])."""
    low, high = (intervals[bound].clip(*within) for bound in ("low", "high"))
    panel.fill_between(x, low, high, color=look["color"], alpha=0.13, linewidth=0)


def fit(panel: Axes, accuracy: pd.Series, best: pd.Series | None = None) -> None:
    """Fit a panel to its points: intervals of two or three seeds can be wider than all that there is to see.

    No panel shows less than two percentage points, for noise is not to look like an effect, and none much over 100%.
    Given the `best` accuracy of each of several methods, it reaches below the least of them as far as it reaches above:
    what methods fall to at the end of their curves can be so much less that nothing else would be seen.
    """
    low, high = accuracy.min(), accuracy.max()
    if best is not None and len(best) > 1:
        low = max(low, 2 * best.min() - high)
    margin = max(0.15 * (high - low) + 0.002, (0.02 - (high - low)) / 2)
    panel.set_ylim(low - margin, min(high + margin, 1 + 0.15 * margin))


def decades(axis: Axis) -> None:
    """Label a logarithmic axis in plain numbers: 1, 2, 5, 10 where it spans few powers of ten."""
    low, high = axis.get_view_interval()
    few = 100 if isinstance(axis, XAxis) else 300  # below each other there is room for more labels than side by side
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < few * low else (1,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def shares(axis: Axis) -> None:
    """Label an axis of shares in [0, 1] in percent."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.4g}"))


def counts(axis: Axis) -> None:
    """Label an axis of counts as 250 k, 1.5 M, 2 G."""
    axis.set_major_formatter(EngFormatter())


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
    """Keyword arguments of bars and areas that show an agent's action: hatched, so that they differ in grey too."""
    hatches = ("", "////", "....", "\\\\\\\\", "xxxx", "----")
    colours = ("#d9d9d9", *COLOURS)
    return {
        "facecolor": colours[action % len(colours)],
        "hatch": hatches[action % len(hatches)],
        "edgecolor": "white",
        "linewidth": 0.4,
    }
