"""The page's table of what tuning changed."""

from collections.abc import Iterator
from typing import Any

from benchmark.experiment.tuned import Tuned
from benchmark.tuning import table


def tables(tuned: Tuned | None) -> Iterator[dict[str, Any]]:
    """One table where the experiment names tuned settings, else none; in the form that the template takes."""
    if tuned is None:
        return
    text = table.text(tuned.content)
    names = table.table(tuned.content)[["dataset", "method"]].itertuples(index=False, name=None)
    yield {
        "name": "tuning",
        "title": "Tuning",
        "one_dataset": "",
        "caption": table.CAPTION,
        "headings": list(text.columns),
        "rows": [
            {
                "dataset": dataset,
                "method": method,
                "cells": [
                    {"value": cell, "text": cell, "interval": "", "hole": cell == "diverged"} for cell in row[2:]
                ],
            }
            for (dataset, method), row in zip(names, text.itertuples(index=False, name=None), strict=True)
        ],
    }
