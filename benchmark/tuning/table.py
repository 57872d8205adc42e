"""What tuning changed, as a table and as the course of the best score."""

import math
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from benchmark.analysis.formatting import latex, markdown, percent
from benchmark.experiment.messages import plain
from benchmark.experiment.tuned import Choice, TunedFile
from benchmark.files import atomic_write, write_text

#: What the table shows.
CAPTION = (
    "What tuning changed. The score is the area under the curve of validation accuracy over budgets of compute, in "
    "percent, before tuning and of the best trial. As the best of several on one validation split it is optimistic; "
    "the experiment's own results are of other seeds, on the test split."
)


def changes(choice: Choice) -> Iterator[str]:
    """Each setting that tuning changed, as 'name before → after'."""
    for before, after in ((choice.before.recipe, choice.recipe), (choice.before.parameters, choice.parameters)):
        for name, value in after.items():
            if plain(value) != plain(before[name]):
                yield f"{name} {plain(before[name])} → {plain(value)}"


def table(tuned: TunedFile) -> pd.DataFrame:
    """One row for each dataset and method: dataset, method, before, after (scores; NaN if diverged), trial, changes."""
    rows = [
        {
            "dataset": dataset,
            "method": method,
            "before": choice.scores[0],
            "after": choice.scores[choice.trial],
            "trial": choice.trial,
            "changes": ", ".join(changes(choice)) or "nothing",
        }
        for dataset, of_dataset in tuned.datasets.items()
        for method, choice in of_dataset.methods.items()
    ]
    return pd.DataFrame(rows, columns=["dataset", "method", "before", "after", "trial", "changes"]).astype(
        {"before": float, "after": float}
    )


def text(tuned: TunedFile) -> pd.DataFrame:
    """The table as it is read, all cells text; each dataset is named once, in the first of its rows."""
    rows = table(tuned)
    scores = {
        name: rows[name].map(lambda value: "diverged" if math.isnan(value) else percent(value))
        for name in ("before", "after")
    }
    rows = rows.assign(
        **scores, trial=rows["trial"].map(str), dataset=rows["dataset"].mask(rows["dataset"].duplicated(), "")
    )
    return rows.rename(columns={"before": "score before (%)", "after": "score after (%)", "trial": "best trial"})


def write(tuned: TunedFile, folder: Path) -> None:
    """Write `tuning.csv`, `tuning.md` and `tuning.tex` into `folder`."""
    with atomic_write(folder / "tuning.csv") as temporary:
        table(tuned).to_csv(temporary, index=False)
    write_text(folder / "tuning.md", markdown(text(tuned), CAPTION))
    write_text(folder / "tuning.tex", latex(text(tuned), CAPTION, "tuning"))


def best_so_far(tuned: TunedFile) -> pd.DataFrame:
    """The best score after each trial: dataset, method, trial, score, best; NaN until a trial has not diverged."""
    rows = [
        (dataset, method, number, value)
        for dataset, of_dataset in tuned.datasets.items()
        for method, choice in of_dataset.methods.items()
        for number, value in enumerate(choice.scores)
    ]
    course = pd.DataFrame(rows, columns=["dataset", "method", "trial", "score"]).astype({"score": float})
    course["best"] = course.groupby(["dataset", "method"], sort=False)["score"].cummax()
    return course
