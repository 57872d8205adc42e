"""Tables of estimates, written as CSV for programs, Markdown for eyes and LaTeX for papers."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from benchmark.analysis import statistics
from benchmark.analysis.statistics import Estimate
from benchmark.files import atomic_write, write_text

#: Characters that LaTeX takes for commands, or that its fonts lack, and what is written in their place.
_LATEX = str.maketrans(
    {"\\": r"\textbackslash{}", "%": r"\%", "_": r"\_", "&": r"\&", "#": r"\#", "$": r"\$", "—": "---", "<": "$<$",
     "†": r"$\dagger$"}
)  # fmt: skip
#: Marks a number made from runs that differ in code, libraries or hardware.
MIXED = "†"


#: The possible range of a share, of a difference of two shares and of an amount; Student's intervals ignore it.
SHARE, DIFFERENCE, AMOUNT = (0.0, 1.0), (-1.0, 1.0), (0.0, math.inf)


@dataclass(frozen=True)
class Metric:
    """A column: its heading, how its numbers are written, and their possible range, to which intervals are cut."""

    title: str
    text: Callable[[float], str]
    within: tuple[float, float] = (-math.inf, math.inf)


@dataclass(frozen=True)
class Cell:
    """A number of a table, or the hole where it should be.

    Attributes:
        estimate: None where a seed lacks the value.
        seeds: how many seeds have the value.
        expected: how many should.
        against: the other method that the number compares with, if any.
        differs: in what the runs behind the number differ, such as "commit, hardware"; empty where they agree.
    """

    estimate: Estimate | None
    seeds: int
    expected: int
    against: str | None = None
    differs: str = ""

    @classmethod
    def of(cls, values: Sequence[float | None], estimate: Callable[[np.ndarray], Estimate] = statistics.mean) -> "Cell":
        """The cell of one value a seed, of which None and NaN are missing."""
        known = np.array([value for value in values if value is not None and not math.isnan(value)], float)
        complete = len(known) == len(values)
        return cls(estimate(known) if complete else None, len(known), len(values))

    @classmethod
    def of_pairs(cls, ours: Sequence[np.ndarray | None], theirs: Sequence[np.ndarray | None]) -> "Cell":
        """The cell of `ours` less `theirs`, [samples] for each seed that is not missing, paired by seed and sample."""
        pairs = zip(ours, theirs, strict=True)
        return cls.of_samples([None if a is None or b is None else a - b for a, b in pairs])

    @classmethod
    def of_methods(
        cls, ours: Sequence[np.ndarray | None], theirs: Sequence[np.ndarray | None], against: str | None = None
    ) -> "Cell":
        """The cell of `ours` less `theirs`, [samples] for each seed of two methods: seeds nested, samples crossed."""
        known = [[values for values in side if values is not None] for side in (ours, theirs)]
        seeds, expected = min(map(len, known)), len(ours)
        estimate = statistics.nested_difference(*known) if seeds == expected else None
        return cls(estimate, seeds, expected, against)

    @classmethod
    def of_independent(cls, ours: "Cell", theirs: "Cell", against: str | None = None) -> "Cell":
        """The cell of the difference of two means of independent runs, by Welch's method."""
        seeds, expected = min(ours.seeds, theirs.seeds), max(ours.expected, theirs.expected)
        if ours.estimate is None or theirs.estimate is None:
            return cls(None, seeds, expected, against)
        return cls(statistics.difference(ours.estimate, theirs.estimate), seeds, expected, against)

    @classmethod
    def of_samples(cls, values: Sequence[np.ndarray | None]) -> "Cell":
        """The cell of one value a sample, [samples] for each seed that is not missing, over seeds and samples."""
        known = [value for value in values if value is not None]
        complete = len(known) == len(values)
        return cls(statistics.crossed_mean(known) if complete else None, len(known), len(values))

    def interval(self, metric: Metric) -> tuple[float, float]:
        """The 95% interval, cut to what is possible; NaN where there is none."""
        if self.estimate is None:
            return math.nan, math.nan
        low, high = np.clip(self.estimate.interval(), *metric.within)
        return float(low), float(high)

    def text(self, metric: Metric) -> str:
        """The cell as it is read: the value, with its interval if it has one; or how many seeds there are."""
        if self.estimate is None:
            return f"— ({self.seeds}/{self.expected} seeds)"
        low, high = self.interval(metric)
        value = metric.text(self.estimate.value)
        interval = "" if math.isnan(low) else f" [{metric.text(low)}, {metric.text(high)}]"
        return value + interval + (f" {MIXED}" if self.differs else "")


#: By (dataset, row label) and metric; a metric that makes no sense for a row is absent.
Cells = dict[tuple[str, str], dict[str, Cell]]


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        name: of its files.
        caption: what it shows and how it was measured, in full sentences.
        metrics: the columns.
        cells: the rows.
    """

    name: str
    caption: str
    metrics: dict[str, Metric]
    cells: Cells

    def numbers(self) -> pd.DataFrame:
        """One row per cell: dataset, method, metric, value, low, high, seeds, expected, against, differs."""
        rows = []
        for (dataset, method), cells in self.cells.items():
            for metric, cell in cells.items():
                value = math.nan if cell.estimate is None else cell.estimate.value
                interval = cell.interval(self.metrics[metric])
                last = cell.seeds, cell.expected, cell.against or "", cell.differs
                rows.append((dataset, method, metric, value, *interval, *last))
        columns = ["dataset", "method", "metric", "value", "low", "high", "seeds", "expected", "against", "differs"]
        return pd.DataFrame(rows, columns=columns)

    def text(self) -> pd.DataFrame:
        """The table as it is read, all cells text; each dataset is named once, in the first of its rows."""
        rows, named = [], set()
        for (dataset, method), cells in self.cells.items():
            texts = (cells[name].text(metric) if name in cells else "" for name, metric in self.metrics.items())
            rows.append(["" if dataset in named else dataset, method, *texts])
            named.add(dataset)
        return pd.DataFrame(rows, columns=["dataset", "method", *(metric.title for metric in self.metrics.values())])

    def markdown(self) -> str:
        """The table and, below it, its caption."""
        return markdown(self.text(), self.caption)

    def latex(self) -> str:
        """A `table` environment; needs the package booktabs."""
        return latex(self.text(), self.caption, self.name)

    def write(self, folder: Path) -> None:
        """Write `<name>.csv`, `<name>.md` and `<name>.tex` into `folder`."""
        with atomic_write(folder / f"{self.name}.csv") as temporary:
            self.numbers().to_csv(temporary, index=False)
        write_text(folder / f"{self.name}.md", self.markdown())
        write_text(folder / f"{self.name}.tex", self.latex())


def markdown(text: pd.DataFrame, caption: str) -> str:
    """A table of text and, below it, its caption."""
    return f"{text.to_markdown(index=False, disable_numparse=True)}\n\n{caption}\n"


def latex(text: pd.DataFrame, caption: str, name: str) -> str:
    """A `table` environment of a table of text, whose first two columns are names; needs the package booktabs."""
    text = text.rename(columns=_latex).map(_latex)
    environment = text.style.hide(axis="index").to_latex(
        hrules=True,
        column_format="ll" + "r" * (len(text.columns) - 2),
        caption=_latex(caption),
        label=f"tab:{name}",
        position="tbp",
        position_float="centering",
    )
    return f"% needs \\usepackage{{booktabs}}\n{environment}"


def _latex(text: str) -> str:
    return text.translate(_LATEX)


def percent(value: float) -> str:
    """A share, in percent."""
    return f"{100 * value:.2f}"


def points(value: float) -> str:
    """A difference of shares, in percentage points, with its sign."""
    return f"{100 * value:+.2f}"


def significant(value: float) -> str:
    """A number of any size: three digits that count, and a prefix for its size."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    value = float(f"{value:.3g}")  # before the prefix is chosen: 999,999 is 1 M
    power = min(max(math.floor(math.log10(abs(value)) / 3), 0), 6)
    return f"{value / 1000**power:.3g}{('', ' k', ' M', ' G', ' T', ' P', ' E')[power]}"


def probability(value: float) -> str:
    """A p-value."""
    return "<0.001" if value < 0.001 else f"{value:.3f}"


#: The columns and rows of a table.
Filled = tuple[dict[str, Metric], Cells]
ACCURACY = Metric("accuracy (%)", percent, SHARE)
AREA = Metric("area under the curve (%)", percent, SHARE)
MACS = Metric("MACs", significant, AMOUNT)
RELATIVE_MACS = Metric("MACs (% of reference)", percent, AMOUNT)
TRAINING_MACS = Metric("training MACs", significant, AMOUNT)
