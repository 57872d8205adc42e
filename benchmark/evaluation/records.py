"""The records of a run: one row per sample, split and operating point, in one Parquet file.

Every statement about a run's predictions and compute is computed from these rows; no model is run again.
The columns are those of `docs/architecture.md`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from benchmark.files import atomic_write

CATEGORY = pa.dictionary(pa.int16(), pa.string())

#: The columns that every run has, in this order; `executions.<component>` and `note.<name>` follow.
COLUMNS: Mapping[str, pa.DataType] = {
    "split": CATEGORY,
    "sample": pa.int32(),
    "label": pa.int16(),
    "prediction": pa.int16(),
    "difficulty": pa.float32(),
    "policy": CATEGORY,
    "operating_point": CATEGORY,
    "knob": pa.float32(),
    "confidence": pa.float32(),
    "macs": pa.int64(),
}
#: The columns that only some runs have: the name of each sample's group, where the dataset has groups.
OPTIONAL: Mapping[str, pa.DataType] = {"group": CATEGORY}
SPLITS = ("validation", "test")
EXECUTIONS = "executions."
NOTE = "note."


def write(path: Path, records: pd.DataFrame) -> None:
    """Check `records` and write them to `path` atomically; the same records give the same bytes.

    Confidences are rounded to thousandths: whole, they would take half of the file.

    Raises:
        ValueError: see `check`.
    """
    check(records)
    names = [*COLUMNS, *(name for name in records.columns if name not in COLUMNS)]
    table = pa.table({name: _array(records[name], name) for name in names})
    # Samples are counted up again for each operating point; all other columns repeat their values.
    with atomic_write(path) as temporary:
        pq.write_table(
            table,
            temporary,
            compression="zstd",
            use_dictionary=[name for name in names if name != "sample"],
            column_encoding={"sample": "DELTA_BINARY_PACKED"},
        )


def read(path: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read records, or only some of their columns; categories come as pandas categoricals.

    Raises:
        OSError, pyarrow.ArrowException: the file is missing or damaged.
    """
    # One block a column: gathering them into blocks would copy everything.
    return pq.read_table(path, columns=columns, use_threads=False).to_pandas(split_blocks=True)


def columns(path: Path) -> list[str]:
    """The names of the columns in a records file, without reading any."""
    return pq.read_schema(path).names


#: Records of at most so many values, 400 MB or less, are held in memory.
FEW_VALUES = 5 * 10**7


class Columns:
    """The records of a file, column by column: a hundred columns of millions of rows are never held at once.

    Attributes:
        columns: their names.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.columns = columns(path)
        few = pq.read_metadata(path).num_rows * len(self.columns) <= FEW_VALUES
        self._whole = read(path) if few else None

    def __getitem__(self, name: str) -> pd.Series:
        """A column; of many records, it is read from the file each time."""
        return read(self._path, [name])[name] if self._whole is None else self._whole[name]

    def _of(self, names: list[str]) -> pd.DataFrame:
        return read(self._path, names) if self._whole is None else self._whole[names]

    def check(self) -> None:
        """As `check` does, with no more columns in memory than it looks at.

        Raises:
            ValueError: see `check`.
        """
        _check_names(self.columns)
        _check_rows(self._of(_CHECKED))


def check(records: pd.DataFrame, component_macs: Mapping[str, int] | None = None) -> None:
    """Make sure that records are complete and consistent.

    Args:
        records: a run's records.
        component_macs: MACs of one execution of each component; if given, `macs` must follow from the executions.

    Raises:
        ValueError: a column is missing or unknown, a sample is missing or duplicated at some operating point, a sample
            has two labels, a confidence is not a probability, or the compute does not add up.
    """
    _check_names(list(records))
    _check_rows(records[_CHECKED])
    if component_macs is not None:
        macs = sum(
            records[f"{EXECUTIONS}{name}"].to_numpy(np.int64) * int(cost) for name, cost in component_macs.items()
        )
        if not np.array_equal(macs, records["macs"]):
            raise ValueError("records hold MACs that are not executions times component costs")


#: What `_check_rows` looks at.
_CHECKED = ["split", "sample", "label", "operating_point", "confidence"]


def _check_names(names: Sequence[str]) -> None:
    missing = [name for name in COLUMNS if name not in names]
    known = {*COLUMNS, *OPTIONAL}
    unknown = [name for name in names if name not in known and not name.startswith((EXECUTIONS, NOTE))]
    if missing or unknown:
        raise ValueError(f"records lack the columns {missing} or have unknown ones: {unknown}")


def _check_rows(records: pd.DataFrame) -> None:
    if not len(records):
        raise ValueError("records have no row")
    if not set(records["split"].unique()) <= set(SPLITS):
        raise ValueError(f"records name the splits {sorted(records['split'].unique())}; there are {SPLITS}")
    if not records["confidence"].between(0, 1).all():
        raise ValueError("records hold a confidence that is not between 0 and 1")
    split, splits = pd.factorize(records["split"])
    point = pd.factorize(records["operating_point"])[0]
    sample, label = records["sample"].to_numpy(), records["label"].to_numpy()
    for number, name in enumerate(splits):
        rows = split == number
        _check_split(name, sample[rows], point[rows], label[rows])


def _check_split(split: str, sample: np.ndarray, point: np.ndarray, label: np.ndarray) -> None:
    """Every operating point has every sample once, and a sample has the same label at all of them."""
    samples, points = int(sample.max()) + 1, np.count_nonzero(np.bincount(point))
    if sample.min() < 0 or len(sample) != samples * points:
        raise ValueError(f"records hold {len(sample)} {split} rows, not {samples} samples x {points} operating points")
    place = point * samples + sample
    if np.count_nonzero(np.bincount(place)) != len(place):
        raise ValueError(f"records lack a {split} sample at some operating point, or hold it twice")
    of_sample = np.empty(samples, label.dtype)
    of_sample[sample] = label
    if (of_sample[sample] != label).any():
        raise ValueError(f"records give a {split} sample two labels")


def _array(column: pd.Series, name: str) -> pa.Array:
    """A column in its type on disk; the conversion fails rather than lose a value."""
    kind = {**COLUMNS, **OPTIONAL}.get(name)
    if name.startswith(EXECUTIONS):
        kind = pa.int16()
    elif name.startswith(NOTE):
        kind = pa.float32() if column.dtype.kind == "f" else pa.int16()
    if kind == CATEGORY:
        # Categories in the order of their first row, however the column was put together.
        codes, names = pd.factorize(column)
        return pa.DictionaryArray.from_arrays(
            pa.array(codes, pa.int16()), pa.array(np.asarray(names, str), pa.string())
        )
    values = column.to_numpy()
    if name == "confidence":
        values = values.astype(np.float32).round(3)
    if pa.types.is_floating(kind):
        return pa.array(values.astype(np.float32))
    return pa.array(values).cast(kind)
