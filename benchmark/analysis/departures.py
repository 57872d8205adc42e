"""Which methods do not wholly stand on their dataset's common ground."""

from benchmark.analysis.outcomes import Outcomes


def note(outcomes: Outcomes) -> str:
    """What a caption says of methods that depart from the ground or cannot share it; nothing where all stand on it."""
    runs = outcomes.runs.drop_duplicates(["dataset", "method"])
    named = []
    for (method, departure), group in runs[runs["ground"] != ""].groupby(["method", "ground"], sort=False):
        datasets = list(group["dataset"])
        where = "" if datasets == outcomes.datasets else f" on {', '.join(datasets)}"
        named.append(f"{method}{where} ({departure})")
    return f"Not wholly on the common ground: {'; '.join(named)}." if named else ""
