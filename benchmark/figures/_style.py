"""How figures are arranged: one width, one grid of panels, one legend; `_palette` says what stands for what."""

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
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from benchmark.figures._palette import HOLE, action_look, method_looks, policy_look

#: Inches: a column, and the text width of a page.
WIDTHS = {"column": 3.3, "page": 7.0}

#: Fonts for characters that the style's own font lacks, as far as they are installed. The last one comes with
#: matplotlib and has a box for every script.
FALLBACK_FONTS = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "WenQuanYi Zen Hei", "PingFang SC",
    "Hiragino Sans GB", "Microsoft YaHei", "Arial Unicode MS", "Noto Sans", "Noto Sans Devanagari", "Noto Emoji",
    "Unifont", "Last Resort High-Efficiency",
)  # fmt: skip


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
        self._looks = method_looks(methods, static)

    def look(self, method: str) -> dict[str, Any]:
        """Keyword arguments of `Axes.plot` for a method's line."""
        return self._looks[method]

    def decider_look(self, policy: str, method: str) -> dict[str, Any]:
        """As `look`, for who decides in `method`: a control, or its "agent", whose decisions are the method's curve."""
        return self.look(method) if policy == "agent" else policy_look(policy)

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
        room = width / columns - 0.5
        titles = [": ".join(name) for name, _ in groups]
        if any(0.072 * len(title) > room for title in titles):
            titles = [title.replace(": ", ":\n") for title in titles]
        panels = []
        for panel, title, (_, shown) in zip(axes, titles, groups, strict=False):
            panel.set_title(title)
            if "planned" in shown:
                _note_holes(panel, shown, room)
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
    title = panel.get_title(loc="left").split("\n")
    if notes and 0.07 * len(title[-1]) + 0.055 * len(text) > room:
        text += "\n" * (len(title) + (len(title) > 1))
    panel.set_title(text, loc="right", color=HOLE, fontsize=7, weight="normal")


def few_runs(shown: pd.DataFrame) -> bool:
    """Whether the runs of a panel, by `method` and `seed`, are at most fifty, so that they can be distinguished."""
    return len(shown.groupby(["method", "seed"])) <= 50


def draw_runs(panel: Axes, runs: pd.DataFrame, x: str, y: str, look: dict[str, Any], single: bool = True) -> None:
    """One method's course of `y` over `x`: a thick line with markers for the mean, thin ones for `single` seeds."""
    for _, run in runs.groupby("seed") if single else ():
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


def epochs(axis: Axis) -> None:
    """Label an axis of epochs or rounds: they are whole numbers."""
    axis.set_major_locator(MaxNLocator(integer=True, nbins=5))


def shares(axis: Axis) -> None:
    """Label an axis of shares in [0, 1] in percent."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.4g}"))


def counts(axis: Axis) -> None:
    """Label an axis of counts as 250 k, 1.5 M, 2 G; so few labels that they do not touch in a narrow panel."""
    if axis.get_scale() == "linear":
        axis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
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
