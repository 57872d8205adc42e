"""The start page over all experiments of a folder of results."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmark.experiment import provenance
from benchmark.report.sentences import join
from benchmark.report.templating import fill

#: What each experiment's page leaves beside it for the start page.
SUMMARY = "findings.json"

Experiment = Mapping[str, Any]


def read(results: Path) -> list[dict[str, Any]]:
    """The summaries of all experiments in `results`, those with most finished runs first."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(results.glob(f"*/{SUMMARY}"))]
    return sorted(found, key=lambda experiment: (-experiment["done"], experiment["name"]))


def start_page(results: Path) -> str:
    """The page, as one file."""
    experiments = read(results)
    columns, claims = verdict_board(experiments)
    return fill(
        "start.html",
        ("theme",),
        summary=summary(experiments),
        experiments=experiments,
        columns=columns,
        claims=claims,
        code=provenance.code(),
    )


def summary(experiments: Sequence[Experiment]) -> list[str]:
    """What was found, in three sentences: who leads, whether adaptive networks pay, what holds of the claims."""
    boards = [board for experiment in experiments if experiment["done"] for board in experiment["boards"]]
    sentences = [_leaders(boards), _adaptive(boards), _claims(experiments)]
    return [sentence for sentence in sentences if sentence]


def _leaders(boards: Sequence[Mapping[str, Any]]) -> str:
    """Who is ahead, or shares the lead, on how many of the datasets."""
    marked = [[row["method"] for row in board["rows"] if row["cells"][-1]["place"]] for board in boards]
    decided = [methods for methods in marked if methods]
    if not decided:
        return ""
    times = Counter(method for methods in decided for method in methods)
    alone = Counter(methods[0] for methods in decided if len(methods) == 1)
    most = max(times.values())
    best = [method for method, count in times.items() if count == most]
    first = ", alone ahead on " + str(alone[best[0]]) if len(best) == 1 and alone[best[0]] else ""
    leading = f"{join(best)} {'is' if len(best) == 1 else 'are'} ahead or level with the best"
    return f"At equal compute, {leading} on {most} of {_boards(len(boards))}{first}."


def _adaptive(boards: Sequence[Mapping[str, Any]]) -> str:
    """On how many datasets the best is adaptive, a static network, or level with the other kind."""
    counted: Counter[str] = Counter()
    widest: tuple[float, str] = (0.0, "")
    for board in boards:
        rows = [row for row in board["rows"] if row["cells"][-1]["value"] is not None]
        kinds = {"static" if row["static"] else "adaptive" for row in rows if row["cells"][-1]["place"]}
        if not kinds or len({row["static"] for row in rows}) < 2:
            continue
        counted["tie" if len(kinds) > 1 else kinds.pop()] += 1
        best = {
            kind: max((r for r in rows if r["static"] == kind), key=lambda r: r["cells"][-1]["value"])
            for kind in (True, False)
        }
        gap = best[False]["cells"][-1]["value"] - best[True]["cells"][-1]["value"]
        if gap > widest[0]:
            lead = (
                f"{best[False]['method']} by {100 * gap:.1f} points over {best[True]['method']} on {board['dataset']}"
            )
            widest = gap, lead
    total = sum(counted.values())
    if not total:
        return ""
    parts = [
        f"on {counted[kind]} {words}"
        for kind, words in (
            ("adaptive", "an adaptive network beats every static one"),
            ("static", "a static network beats every adaptive one"),
            ("tie", "neither can be shown to be ahead"),
        )
        if counted[kind]
    ]
    most = f" The widest lead: {widest[1]}." if widest[1] else ""
    return f"Of {_boards(total)}, {join(parts)}.{most}"


def _claims(experiments: Sequence[Experiment]) -> str:
    """How the paper's claims fare: everywhere, somewhere, nowhere."""
    verdicts: dict[str, list[str]] = {}
    for experiment in experiments:
        for found in experiment["verdicts"]:
            verdicts.setdefault(found["claim"], []).append(found["verdict"])
    tested = {claim: [v for v in found if v != "not tested"] for claim, found in verdicts.items()}
    tested = {claim: found for claim, found in tested.items() if found}
    if not tested:
        return ""
    everywhere = sum(set(found) == {"supported"} for found in tested.values())
    nowhere = sum("supported" not in found for found in tested.values())
    somewhere = len(tested) - everywhere - nowhere
    parts = [f"{everywhere} hold on every dataset tested", f"{somewhere} on some", f"{nowhere} on none"]
    return f"Of {len(tested)} claims of the DynaLay paper that were tested, {join(parts)}."


def _boards(count: int) -> str:
    return f"{count} leaderboard{'s' * (count != 1)}"


def verdict_board(experiments: Sequence[Experiment]) -> tuple[list[dict[str, str]], list[dict[str, Any]]]:
    """Columns (an experiment's dataset) and rows (a claim) of the board of verdicts."""
    judged = [(experiment["name"], found) for experiment in experiments for found in experiment["verdicts"]]
    columns = list(dict.fromkeys((name, found["dataset"]) for name, found in judged))
    cells = {
        (found["claim"], name, found["dataset"]): {
            "verdict": found["verdict"], "class": found["verdict"].replace(" ", "-"), "reads": found["reads"] or "",
        }
        for name, found in judged
    }  # fmt: skip
    hypotheses = {found["claim"]: found["hypothesis"] for _, found in judged}
    claims = [
        {"hypothesis": hypothesis, "cells": [cells.get((claim, *column)) for column in columns]}
        for claim, hypothesis in hypotheses.items()
    ]
    return [{"experiment": name, "dataset": dataset} for name, dataset in columns], claims
