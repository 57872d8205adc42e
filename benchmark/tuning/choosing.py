"""The best trial of every method on every dataset, as the file that an experiment names under `tuned`."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmark.analysis.curves import AREA_RANGE
from benchmark.errors import UserError
from benchmark.experiment.configuration import Configuration
from benchmark.experiment.messages import plain
from benchmark.experiment.tuned import Choice, TunedDataset, TunedFile, Values
from benchmark.files import write_text
from benchmark.tuning.points import Finished, read
from benchmark.tuning.score import Points, score
from benchmark.tuning.trials import Trial, seed, space, trials

#: Scores are kept to so many digits; ties go to the earlier trial, so a tie with trial 0 changes nothing.
DIGITS = 5


def choose(configuration: Configuration, results: Path, count: int, datasets: Sequence[str]) -> TunedFile:
    """What `count` trials of each method say is best on each of the datasets.

    Raises:
        UserError: a trial is missing, or the reference's trial 0 diverged, which budgets are measured by.
    """
    planned = trials(configuration, count, datasets)
    finished = {(trial.dataset, trial.method, trial.number): read(trial, results) for trial in planned}
    if missing := [str(trial) for trial in planned if not finished[trial.dataset, trial.method, trial.number]]:
        names = ", ".join(missing[:3]) + ", ..." * (len(missing) > 3)
        raise UserError(
            f"{len(missing)} of {len(planned)} trials are not finished ({names}); `snakemake tune --config "
            f"experiment=... trials={count}` makes what is missing."
        )
    known = {key: found for key, found in finished.items() if found is not None}
    tuned = {}
    for dataset in datasets:
        budgets = _budgets(configuration, dataset, known[dataset, configuration.reference, 0].points)
        methods = {}
        for method in configuration.methods:
            points = [known[dataset, method, number].points for number in range(count)]
            scores = [None if found is None else round(score(found, *budgets), DIGITS) for found in points]
            methods[method] = _choice(
                configuration, [t for t in planned if (t.dataset, t.method) == (dataset, method)], scores
            )
        tuned[dataset] = TunedDataset(budgets=budgets, methods=methods)
    return TunedFile(
        experiment=configuration.experiment,
        trials=count,
        seed=seed(configuration),
        datasets=tuned,
        **_made_by(known.values()),
    )


def write(path: Path, tuned: TunedFile, command: str) -> None:
    """Write the file, as YAML, with the command that made it."""
    header = f"# Chosen on validation by `{command}`; docs/tuning.md explains it. Not to be edited by hand.\n"
    content = plain(tuned.model_dump())
    write_text(path, header + yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=120))


def _budgets(configuration: Configuration, dataset: str, reference: Points | None) -> tuple[float, float]:
    """Between which MACs scores are taken: the range of the tables' areas, around the reference's untuned compute."""
    if reference is None:
        raise UserError(
            f"{dataset}/{configuration.reference}/trial0 diverged, and budgets are shares of the reference's compute; "
            "lower learning_rate in the configuration."
        )
    unit = reference.macs[int(np.lexsort((np.array(reference.macs), -np.array(reference.accuracy)))[0])]
    low, high = (round(share * unit, 1) for share in AREA_RANGE)
    return low, high


def _choice(configuration: Configuration, of_method: Sequence[Trial], scores: Sequence[float | None]) -> Choice:
    """The best of a method's trials on a dataset."""
    best = int(np.argmax([-1.0 if value is None else value for value in scores]))
    tuned = space(configuration, of_method[0].dataset, of_method[0].method)

    def settings(trial: Trial) -> dict[str, dict[str, Any]]:
        recipe = {name: getattr(trial.recipe, name) for name in tuned.recipe}
        return {"recipe": recipe, "parameters": {name: trial.method_parameters[name] for name in tuned.parameters}}

    chosen = settings(of_method[best]) if best else {}
    return Choice(trial=best, scores=tuple(scores), before=Values(**settings(of_method[0])), **chosen)


def _made_by(finished: Iterable[Finished]) -> dict[str, Any]:
    """The code and the versions that made the trials, each of which may be several."""
    made_by = [trial.made_by for trial in finished]
    codes = [one["code"] for one in made_by]
    return {
        "commits": tuple(dict.fromkeys(code["commit"] for code in codes)),
        "dirty": any(code["dirty"] for code in codes),
        "versions": {name: _together(made_by, name) for name in made_by[0]["versions"]},
    }


def _together(made_by: Sequence[Mapping[str, Any]], name: str) -> str | None:
    found = dict.fromkeys(one["versions"].get(name) for one in made_by)
    return ", ".join(str(version) for version in found if version is not None) or None
