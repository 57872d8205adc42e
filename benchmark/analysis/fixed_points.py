"""Whether the layers of a method reach their fixed points, from what its records note."""

from benchmark.analysis.outcomes import RUN, Outcomes

#: What is noted of each sample, and the policy under which it is looked up.
NOTES = {"converged": "own", "held": "onwards", "evaluations": "own"}


def of_run(outcomes: Outcomes, dataset: str, method: str, seed: int) -> dict[str, float]:
    """Means of `NOTES` over the test samples of a run, and its `accuracy`, when solved to the smallest tolerance.

    Empty where the run is missing, or its layers are not solved for fixed points.
    """
    key = dict(zip(RUN, (dataset, method, seed), strict=True))
    points, notes = (
        table[(table[list(key)] == list(key.values())).all(axis=1)] for table in (outcomes.points, outcomes.notes)
    )
    if "held" not in set(notes["note"]):
        return {}
    own = points[points["policy"] == "own"]
    solved = own[own["knob"] == own["knob"].min()]
    found = {"accuracy": float(solved["accuracy"].iloc[0])}
    for name, policy in NOTES.items():
        noted = notes[(notes["note"] == name) & (notes["policy"] == policy) & (notes["knob"] == solved["knob"].iloc[0])]
        found[name] = float(noted["mean"].iloc[0])
    return found
