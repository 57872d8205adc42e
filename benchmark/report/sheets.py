"""Tables as a page shows them: the most accurate first, and without columns that say the same in every row."""

from collections.abc import Mapping
from typing import Any

from benchmark.analysis.formatting import Cell, Metric, Table

#: What the other tables are opened from.
FIRST = "main_results"


def sheet(table: Table) -> dict[str, Any]:
    """A table's title, caption, headings and rows."""
    rows: list[dict[str, Any]] = [
        {
            "dataset": dataset,
            "method": method,
            "cells": [_cell(cells.get(name), metric) for name, metric in table.metrics.items()],
        }
        for (dataset, method), cells in _by_first_number(table)
    ]
    headings = [metric.title for metric in table.metrics.values()]
    constant = [place for place in range(len(headings)) if _is_constant(rows, place)]
    said = "; ".join(f"{headings[place]}: {_text(rows[0]['cells'][place])}" for place in constant)
    for row in rows:
        row["cells"] = [cell for place, cell in enumerate(row["cells"]) if place not in constant]
    datasets = {row["dataset"] for row in rows}
    return {
        "name": table.name,
        "title": table.name.replace("_", " ").capitalize(),
        "caption": table.caption + (f" The same in every row: {said}." if said else ""),
        "one_dataset": datasets.pop() if len(datasets) == 1 else "",
        "headings": [heading for place, heading in enumerate(headings) if place not in constant],
        "rows": rows,
    }


def _by_first_number(table: Table) -> list[tuple[tuple[str, str], Mapping[str, Cell]]]:
    """The rows, dataset by dataset, those of the largest first number first and holes last."""
    datasets = list(dict.fromkeys(dataset for dataset, _ in table.cells))
    leading = next(iter(table.metrics))

    def rank(row: tuple[tuple[str, str], Mapping[str, Cell]]) -> tuple[int, bool, float]:
        (dataset, _), cells = row
        cell = cells.get(leading)
        known = cell is not None and cell.estimate is not None
        return datasets.index(dataset), not known, -float(cell.estimate.value) if known else 0.0  # type: ignore[union-attr]

    return sorted(table.cells.items(), key=rank)


def _is_constant(rows: list[dict[str, Any]], place: int) -> bool:
    cells = [row["cells"][place] for row in rows]
    return len(cells) > 2 and not any(cell["hole"] for cell in cells) and len({_text(cell) for cell in cells}) == 1


def _text(cell: Mapping[str, Any]) -> str:
    return f"{cell['text']} {cell['interval']}".strip()


def _cell(cell: Cell | None, metric: Metric) -> dict[str, Any]:
    """A cell's value to sort by, its text and interval, and whether it is a hole."""
    if cell is None:
        return {"value": "", "text": "", "interval": "", "hole": False}
    text, bracket, interval = cell.text(metric).partition(" [")
    value = "" if cell.estimate is None else float(cell.estimate.value)
    return {"value": value, "text": text, "interval": bracket.strip() + interval, "hole": cell.estimate is None}
