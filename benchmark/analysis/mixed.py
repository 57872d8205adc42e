"""Which numbers are made from runs that differ in code, libraries or hardware."""

from collections.abc import Collection
from dataclasses import replace

import pandas as pd

from benchmark.analysis.formatting import MIXED, Cells
from benchmark.analysis.outcomes import Outcomes

#: Columns of `runs`, and what they are called.
FACTS = {"code": "commit", "versions": "library versions", "hardware": "hardware"}


def differing(runs: pd.DataFrame) -> dict[str, int]:
    """In what some runs differ, and how many versions of each there are; only finished runs count."""
    done = runs[runs["status"] == "done"]
    code = done["commit"].astype(str) + done["dirty"].astype(str)
    counts = {name: done.assign(code=code)[column].astype(str).nunique() for column, name in FACTS.items()}
    return {name: count for name, count in counts.items() if count > 1}


def marked(outcomes: Outcomes, cells: Cells) -> Cells:
    """The cells, each with what its runs differ in: those of its row, and of the method that it compares with."""
    groups = dict(iter(outcomes.runs.groupby(["dataset", "method"])))

    def differs(dataset: str, methods: Collection[str | None]) -> str:
        found = [runs for (where, method), runs in groups.items() if method in methods and dataset in (where, ANY)]
        return ", ".join(differing(pd.concat(found))) if found else ""

    return {
        (dataset, method): {
            name: replace(cell, differs=differs(dataset, {method, cell.against})) for name, cell in row.items()
        }
        for (dataset, method), row in cells.items()
    }


#: The row label of tables over all datasets.
ANY = "all datasets"


def note(outcomes: Outcomes, cells: Cells) -> str:
    """What a caption has to say of runs that differ; nothing where all agree."""
    counts = differing(outcomes.runs)
    if not counts:
        return ""
    said = "The runs behind this table differ in " + ", ".join(f"{name} ({n} versions)" for name, n in counts.items())
    if any(cell.differs for row in cells.values() for cell in row.values()):
        said += f"; {MIXED} marks the numbers that mix them"
    return f"{said}."
