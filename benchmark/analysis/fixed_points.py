"""Whether the layers of a method reach their fixed points, from what its records note."""

import pandas as pd

from benchmark.analysis.outcomes import RUN, Outcomes

#: What is noted of each sample, and the policy under which it is looked up.
NOTES = {"converged": "own", "held": "onwards", "evaluations": "own"}


def of_runs(outcomes: Outcomes) -> dict[tuple[str, str, int], dict[str, float]]:
    """By dataset, method and seed: means of `NOTES` over test samples, and the `accuracy`, at the smallest tolerance.

    Only of runs whose layers are solved for fixed points.
    """
    notes = outcomes.notes
    held = set(notes.loc[notes["note"] == "held", RUN].itertuples(index=False, name=None))
    if not held:
        return {}
    noted = {run: mine for run, mine in notes.groupby(RUN, sort=False) if run in held}
    own = outcomes.own_points.groupby(RUN, sort=False)
    return {run: _of_run(own.get_group(run), noted[run]) for run in noted}


def _of_run(points: pd.DataFrame, notes: pd.DataFrame) -> dict[str, float]:
    solved = points[points["knob"] == points["knob"].min()]
    found = {"accuracy": float(solved["accuracy"].iloc[0])}
    for name, policy in NOTES.items():
        noted = notes[(notes["note"] == name) & (notes["policy"] == policy) & (notes["knob"] == solved["knob"].iloc[0])]
        found[name] = float(noted["mean"].iloc[0])
    return found
