"""What tuning changed, as a table and as the course of the best score."""

from collections.abc import Iterator

import pandas as pd

from benchmark.experiment.messages import plain
from benchmark.experiment.tuned import Choice, TunedFile

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
