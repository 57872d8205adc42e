"""The table of runs: a row for each dataset and method, its seeds side by side, so that thousands stay small."""

from typing import Any

import pandas as pd

from benchmark.analysis.formatting import significant
from benchmark.experiment.configuration import Configuration

#: Columns of the table, and how their numbers are written.
_COLUMNS = {
    "training_seconds": ("training time (s)", significant),
    "training_macs": ("training MACs", significant),
    "training_joules": ("energy (J)", significant),
    "preemptions": ("preemptions", significant),
}
_WORDS = {"commit": "commit", "hardware": "hardware"}


def holes(runs: pd.DataFrame) -> list[dict[str, Any]]:
    """The runs that are not done, with their status and error."""
    lacking = runs[runs["status"] != "done"].fillna({"error": ""})  # a text that is missing is read back as NaN
    return [
        {"name": f"{row.dataset}/{row.method}/seed{row.seed}", "status": row.status, "error": row.error}
        for row in lacking.itertuples()
    ]


def table(runs: pd.DataFrame, configuration: Configuration) -> dict[str, Any]:
    """Headings and rows; what is the same in all runs is said once, as `common`."""
    done = runs[runs["status"] == "done"]
    same = {name: _same(done[name]) for name in _WORDS}
    words = [name for name, value in same.items() if value is None and len(done)]
    numbers = [name for name in _COLUMNS if name in done and done[name].notna().any() and done[name].any()]
    rows = []
    for (dataset, method), mine in runs.groupby(["dataset", "method"], sort=False):
        finished = mine[mine["status"] == "done"]
        states = {str(state): int(count) for state, count in mine["status"].value_counts().items()}
        state = "done" if set(states) == {"done"} else ", ".join(f"{count} {state}" for state, count in states.items())
        cells = [_cell(dataset), _cell(method), _cell(state, hole=state != "done")]
        cells += [
            _cell(", ".join(sorted({_short(name, value) for value in finished[name].dropna()}))) for name in words
        ]
        cells += [_number(finished[name].mean(), _COLUMNS[name][1]) for name in numbers]
        seeds = [{"seed": row.seed, "status": row.status} for row in mine.itertuples()]
        rows.append({"dataset": dataset, "folder": f"{dataset}/{method}", "cells": cells, "seeds": seeds})
    return {
        "headings": [
            "dataset",
            "method",
            "status",
            *(_WORDS[name] for name in words),
            *(_COLUMNS[n][0] for n in numbers),
        ],
        "rows": rows,
        "common": [f"{_WORDS[name]} {_short(name, value)}" for name, value in same.items() if value],
    }


def commits(runs: pd.DataFrame) -> list[str]:
    """The code versions of the runs that are done, shortened."""
    return sorted({str(commit)[:10] for commit in runs.loc[runs["status"] == "done", "commit"].dropna()})


def _same(column: pd.Series) -> str | None:
    values = column.dropna().unique()
    return str(values[0]) if len(values) == 1 else None


def _short(name: str, value: Any) -> str:
    return str(value)[:10] if name == "commit" else str(value)


def _cell(text: str, hole: bool = False) -> dict[str, Any]:
    return {"text": text, "value": None, "hole": hole}


def _number(value: float, text: Any) -> dict[str, Any]:
    return (
        {"text": "", "value": "", "hole": False}
        if pd.isna(value)
        else {"text": text(value), "value": value, "hole": False}
    )
