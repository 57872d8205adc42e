"""The small files of measurements in a run's folder, read so that whatever an older version did not write is a hole."""

from pathlib import Path

import pandas as pd

#: Of each file: the columns that say what was measured, and those that hold the numbers.
COLUMNS = {
    "latency.csv": (
        ("operating_point", "batch_size"),
        ("milliseconds_per_sample", "p50", "p95", "p99", "threads", "peak_memory_mib", "device", "commit"),
    ),
    "resources.csv": (("work",), ("time_ratio", "memory_ratio")),
    "gains.csv": (("layer", "bin"), ("decisions", "predicted", "realised", "error")),
}


def read(folder: Path, name: str) -> pd.DataFrame:
    """A file of a run's folder: with no rows where it is missing, damaged, or does not say what was measured.

    Numbers that it lacks are NaN, whether single ones or whole columns.
    """
    measured, numbers = COLUMNS[name]
    try:
        table = pd.read_csv(folder / name, dtype={"device": str, "commit": str})
    except (OSError, ValueError):  # pandas' errors are ValueErrors
        table = pd.DataFrame()
    columns = list(dict.fromkeys([*table, *measured, *numbers]))
    if not set(measured) <= set(table):
        table = table.iloc[:0]
    return table.reindex(columns=columns).dropna(subset=list(measured))
