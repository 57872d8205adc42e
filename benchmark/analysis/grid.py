"""The records of one split as arrays."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from benchmark.evaluation import records


class Grid:
    """The records of one split as arrays [points, samples], whatever the order of the rows.

    Columns are read from the file when they are asked for, and not kept.

    Attributes:
        policy, operating_point, knob: of each operating point, [points].
        samples: their number.
        correct: whether the prediction is right, bool [points, samples].
    """

    def __init__(self, table: records.Columns | pd.DataFrame, split: str) -> None:
        self._table = table
        rows = np.flatnonzero(table["split"] == split).astype(np.int32)
        code, names = pd.factorize(table["operating_point"].iloc[rows])
        sample = table["sample"].to_numpy()[rows]
        self.samples = int(sample.max()) + 1
        self._rows: np.ndarray | slice = np.empty_like(rows)
        self._rows[code * self.samples + sample] = rows
        del code, sample
        first = self._rows[:: self.samples]
        self.operating_point = np.asarray(names, object)
        self.policy = np.asarray(table["policy"].iloc[first], object)
        self.knob = table["knob"].to_numpy()[first]
        if (np.diff(self._rows) == 1).all():  # as an evaluation writes them: nothing has to be copied
            self._rows = slice(self._rows[0], self._rows[-1] + 1)
        self.correct = self["prediction"] == self["label"]

    @property
    def columns(self) -> list[str]:
        return list(self._table.columns)

    def __getitem__(self, column: str) -> np.ndarray:
        """A column as an array [points, samples]."""
        return self._table[column].to_numpy()[self._rows].reshape(-1, self.samples)

    def of_sample(self, column: str) -> np.ndarray:
        """A column that is the same at all operating points, as an array [samples]."""
        return self[column][0]

    def by_point(self, **columns: Any) -> pd.DataFrame:
        """A table with one row per operating point; `columns` are [points] or scalars."""
        points = {"policy": self.policy, "operating_point": self.operating_point, "knob": self.knob}
        return pd.DataFrame(points | columns)

    def by_point_and(self, key: str, values: np.ndarray, **columns: np.ndarray) -> pd.DataFrame:
        """A table with one row per operating point and value of `key`; `columns` are [points, values] or [values]."""
        points = len(self.knob)
        table: dict[str, np.ndarray] = {
            name: np.repeat(getattr(self, name), len(values)) for name in ("policy", "operating_point", "knob")
        }
        table[key] = np.tile(values, points)
        return pd.DataFrame(
            table | {name: np.broadcast_to(array, (points, len(values))).ravel() for name, array in columns.items()}
        )


def rounds_of(grid: Grid) -> Iterator[tuple[int, np.ndarray]]:
    """Each round's number and the actions taken in it, [points, samples].

    0 is the direct action, -1 that the sample had its answer.
    """
    prefix = f"{records.NOTE}action"
    numbers = sorted(int(name.removeprefix(prefix)) for name in grid.columns if name.removeprefix(prefix).isdigit())
    for number in numbers:
        yield number, grid[f"{prefix}{number}"]
