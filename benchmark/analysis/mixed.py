"""Which numbers are made from runs that differ in code, libraries or hardware."""

from collections.abc import Collection
from dataclasses import replace

import pandas as pd

from benchmark.analysis.formatting import MIXED, Cells
from benchmark.analysis.outcomes import Outcomes


def differing(runs: pd.DataFrame) -> dict[str, int]:
    """In what some runs differ, and how many versions of each there are; only finished runs count."""
    counts = {fact: values.nunique() for fact, values in _facts(runs).items()}
    return {fact: count for fact, count in counts.items() if count > 1}


def _facts(runs: pd.DataFrame) -> dict[str, pd.Series]:
    """What tells finished runs apart, each as a text by dataset and method."""
    done = runs[runs["status"] == "done"].set_index(["dataset", "method"])
    return {
        "commit": done["commit"].astype(str) + done["dirty"].astype(str),
        "library versions": done["versions"].astype(str),
        "hardware": done["hardware"].astype(str),
    }


def marked(outcomes: Outcomes, cells: Cells) -> Cells:
    """The cells, each with what its runs differ in: those of its row, and of the method that it compares with."""
    versions = {
        fact: {key: set(some.dropna()) for key, some in values.groupby(["dataset", "method"])}
        for fact, values in _facts(outcomes.runs).items()
    }

    def differs(dataset: str, methods: Collection[str | None]) -> str:
        facts = []
        for fact, known in versions.items():
            found = [some for (where, method), some in known.items() if method in methods and dataset in (where, ANY)]
            if len(set().union(*found)) > 1:
                facts.append(fact)
        return ", ".join(facts)

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
