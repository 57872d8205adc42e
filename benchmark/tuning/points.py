"""The operating points of a finished trial on disk."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.errors import UserError
from benchmark.files import write_json
from benchmark.tuning.score import Points
from benchmark.tuning.trials import Trial


def of_records(records: pd.DataFrame) -> Points:
    """The operating points in a trial's records of the validation split."""
    correct = (records["prediction"] == records["label"]).to_numpy(float)
    means = (
        records.assign(correct=correct)
        .groupby("operating_point", sort=False, observed=True)[["macs", "correct"]]
        .mean()
    )
    labels = records.loc[records["operating_point"] == records["operating_point"].iloc[0], "label"]
    floor = float(labels.value_counts(normalize=True).max())
    return Points(tuple(means["macs"].tolist()), tuple(means["correct"].tolist()), floor)


@dataclass(frozen=True)
class Finished:
    """A finished trial.

    Attributes:
        points: None where training diverged.
        made_by: the code and the versions of libraries that made it.
    """

    points: Points | None
    made_by: Mapping[str, Any]


def write(trial: Trial, results: Path, points: Points | None, made_by: Mapping[str, Any]) -> None:
    """Keep a finished trial's points; None if its training diverged."""
    content = {"trial": str(trial), **trial.resolved(), "points": None if points is None else vars(points)}
    write_json(trial.points_file(results), content | {"made_by": dict(made_by)})


def read(trial: Trial, results: Path) -> Finished | None:
    """A finished trial; None if it is not finished.

    Raises:
        UserError: the file is damaged.
    """
    path = trial.points_file(results)
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found = content["points"]
        points = None if found is None else Points(tuple(found["macs"]), tuple(found["accuracy"]), found["floor"])
        return Finished(points, content["made_by"])
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path} is damaged. Delete it and run the trial again.") from None
