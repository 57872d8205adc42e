"""The start page over all experiments of a folder of results."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmark.analysis.leaderboard import LEADING
from benchmark.report.sentences import join
from benchmark.report.templating import fill

#: What each experiment's page leaves beside it for the start page.
SUMMARY = "findings.json"
#: Of the form of that file: one higher with every change of it.
VERSION = 1

Experiment = Mapping[str, Any]


def read(results: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """The summaries of all experiments in `results`, those with most finished runs first, and whose cannot be read.

    Those are summaries that another version of the suite wrote, and damaged ones; their folders are named.
    """
    found, unread = [], []
    for path in sorted(results.glob(f"*/{SUMMARY}")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            content = None
        if isinstance(content, dict) and content.get("version") == VERSION:
            found.append(content)
        else:
            unread.append(path.parent.name)
    return _distinguished(sorted(found, key=lambda experiment: (-experiment["done"], experiment["name"]))), unread


def _distinguished(experiments: Sequence[Experiment]) -> list[dict[str, Any]]:
    """The same, with the experiment's name in that of each board whose dataset stands in several experiments."""
    times = Counter(board["dataset"] for experiment in experiments for board in experiment["boards"])

    def named(board: Mapping[str, Any], experiment: Experiment) -> dict[str, Any]:
        dataset = board["dataset"]
        return {**board, "dataset": f"{dataset} in {experiment['name']}" if times[dataset] > 1 else dataset}

    return [{**each, "boards": [named(board, each) for board in each["boards"]]} for each in experiments]


def start_page(results: Path) -> str:
    """The page, as one file."""
    experiments, unread = read(results)
    columns, claims = verdict_board(experiments)
    return fill(
        "start.html",
        ("theme",),
        summary=summary(experiments),
        experiments=experiments,
        unread=unread,
        columns=columns,
        claims=claims,
    )


def summary(experiments: Sequence[Experiment]) -> list[str]:
    """What was found, in three sentences: who leads, whether adaptive networks pay, what holds of the claims."""
    boards = [board for experiment in experiments if experiment["done"] for board in experiment["boards"]]
    sentences = [_leaders(boards), _adaptive(boards), _claims(experiments)]
    return [sentence for sentence in sentences if sentence]


def _leaders(boards: Sequence[Mapping[str, Any]]) -> str:
    """Who is ahead, or shares the lead, on how many of the datasets."""
    marked = [[row["method"] for row in board["rows"] if row["cells"][-1]["place"] in LEADING] for board in boards]
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
    said = {
        "adaptive": "an adaptive network beats every static one",
        "static": "a static network beats every adaptive one",
        "tie": "neither kind is shown to be ahead",
    }
    most = f" The widest lead: {widest[1]}." if widest[1] else ""
    if len(counted) == 1 and total > 1:
        return f"On all {_boards(total)} with static and adaptive networks, {said[next(iter(counted))]}.{most}"
    parts = [f"{words} on {counted[kind]}" for kind, words in said.items() if counted[kind]]
    return f"Of {_boards(total)} with both kinds: {join(parts)}.{most}"


def _claims(experiments: Sequence[Experiment]) -> str:
    """How many of the paper's claims are supported everywhere, somewhere or nowhere, and how many are open."""
    verdicts: dict[str, set[str]] = {}
    for experiment in experiments:
        for found in experiment["verdicts"]:
            verdicts.setdefault(found["claim"], set()).add(found["verdict"])
    if not verdicts:
        return ""
    fates = Counter(_fate(found - {"not tested"}) for found in verdicts.values())
    said = {
        "everywhere": "supported on every dataset tested",
        "somewhere": "supported on some datasets only",
        "nowhere": "supported on none",
        "open": "still open",
    }
    parts = [f"{fates[fate]} {words}" for fate, words in said.items() if fates[fate]]
    return f"Claims of the DynaLay paper: {join(parts)}."


def _fate(verdicts: set[str]) -> str:
    if verdicts == {"supported"}:
        return "everywhere"
    if "supported" in verdicts:
        return "somewhere"
    return "nowhere" if "not supported" in verdicts else "open"


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
