"""The leaderboard of an experiment as plain values, which its own page and the start page both show."""

import math
from typing import Any

from benchmark.analysis.formatting import percent, significant
from benchmark.analysis.leaderboard import BUDGETS, Standing, standings
from benchmark.analysis.outcomes import RUN
from benchmark.figures import Evidence


def leaderboard(evidence: Evidence) -> list[dict[str, Any]]:
    """One entry a dataset: its test size, and a row for each method, the most accurate at the largest budget first."""
    outcomes = evidence.outcomes
    methods = [str(name) for name in evidence.overlaid(outcomes.runs)["method"].unique()]
    times = _milliseconds(evidence)
    boards = []
    for dataset in outcomes.datasets:
        found = {share: standings(outcomes, dataset, share, methods) for share in BUDGETS}
        by_method = {share: {standing.method: standing for standing in found[share]} for share in BUDGETS}
        rows = [
            {
                "method": last.method,
                "static": last.method in outcomes.static_methods,
                "cells": [_cell(by_method[share][last.method]) for share in BUDGETS],
                "macs": "" if last.macs.estimate is None else significant(last.macs.estimate.value),
                "time": times.get((dataset, last.method), ""),
            }
            for last in found[BUDGETS[-1]]
        ]
        samples = len(outcomes.samples[dataset]) if dataset in outcomes.samples else 0
        boards.append(
            {
                "dataset": dataset,
                "samples": samples,
                "step": f"{100 / samples:.2g}" if samples else "",
                "reference": outcomes.reference,
                "reference_macs": _known(outcomes.reference_macs(dataset)),
                "timed": any(row["time"] for row in rows),
                "rows": rows,
            }
        )
    return boards


def _cell(standing: Standing) -> dict[str, Any]:
    cell = standing.accuracy
    if cell.estimate is None:
        return {"value": None, "text": "—", "interval": f"{cell.seeds}/{cell.expected} seeds", "place": ""}
    low, high = standing.interval()
    interval = "" if math.isnan(low) else f"{percent(low)} to {percent(high)}"
    value = float(cell.estimate.value)
    macs = None if standing.macs.estimate is None else float(standing.macs.estimate.value)
    return {
        "value": value, "text": percent(value), "interval": interval, "place": standing.place, "macs": macs,
    }  # fmt: skip


def _known(macs: float) -> str:
    return "" if math.isnan(macs) else significant(macs)


def _milliseconds(evidence: Evidence) -> dict[tuple[str, str], str]:
    """The time of a sample, one at a time, at each method's best point within the reference's compute, where timed."""
    outcomes = evidence.outcomes
    timed = evidence.run_files("latency.csv").dropna(subset="milliseconds_per_sample")
    if timed.empty:
        return {}
    timed = timed[timed["batch_size"] == timed["batch_size"].min()]
    milliseconds = timed.set_index([*RUN, "operating_point"])["milliseconds_per_sample"]
    found = {}
    for dataset, method in outcomes.grid():
        points = zip(
            outcomes.seeds, outcomes.curves(dataset, method), outcomes.within_reference(dataset, method), strict=True
        )
        names = [
            (dataset, method, seed, c.operating_points[i]) for seed, c, i in points if c is not None and i is not None
        ]
        known = milliseconds[milliseconds.index.isin(names)]
        if len(known):
            found[dataset, method] = f"{known.mean():.3g}"
    return found
