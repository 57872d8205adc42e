"""Findings in plain sentences, made from the numbers alone; where runs are missing, the sentence says so instead."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from benchmark.analysis.equal_compute import equal_accuracy
from benchmark.analysis.formatting import MACS
from benchmark.analysis.leaderboard import BUDGETS
from benchmark.analysis.outcomes import Outcomes
from benchmark.analysis.static_networks import best_static

Board = Mapping[str, Any]


def findings(outcomes: Outcomes, boards: Sequence[Board], judged: Sequence[Mapping[str, Any]]) -> list[str]:
    """Three sentences at most: who is ahead, what compute is saved, whether the agent's choices are worth anything."""
    sentences = [leaders(boards), saving(outcomes), choosing(judged)]
    return [sentence for sentence in sentences if sentence]


def leaders(boards: Sequence[Board]) -> str:
    """Who is most accurate within the reference's compute, dataset by dataset."""
    if not boards:
        return ""
    parts = [_leader(board) for board in boards]
    return f"Within the compute of {boards[0]['reference']}, {join(parts)}."


def _leader(board: Board) -> str:
    rows = [row for row in board["rows"] if row["cells"][-1]["value"] is not None]
    if not rows:
        return f"nothing can be said about {board['dataset']}: no method has all its runs there"
    lacking = [row["method"] for row in board["rows"] if row["cells"][-1]["value"] is None]
    without = f" ({_listed(lacking)} not counted: seeds are missing or nothing fits)" if lacking else ""
    best = rows[0]
    number = _accuracy(best["cells"][-1])
    if best["cells"][-1]["place"] == "first":
        second = f", {points(best['cells'][-1]['value'] - rows[1]['cells'][-1]['value'])} above {rows[1]['method']}"
        return f"{best['method']} is most accurate on {board['dataset']} ({number}{second}){without}"
    level = [row["method"] for row in rows if row["cells"][-1]["place"] == "tie"]
    if len(level) < 2:
        return f"{best['method']} reaches {number} on {board['dataset']}, with nothing to compare it with{without}"
    return f"{_listed(level)} tie on {board['dataset']} ({best['method']} {number}){without}"


def saving(outcomes: Outcomes) -> str:
    """The least compute at which an adaptive method is as accurate as the best static network."""
    _, cells = equal_accuracy(outcomes)
    parts, unreached = [], []
    for dataset in outcomes.datasets:
        standard = best_static(outcomes, dataset)
        theirs = outcomes.at_best(dataset, standard, "macs")
        if standard not in outcomes.static_methods or None in theirs or not theirs:
            continue
        unit = float(np.mean(np.array(theirs, float)))
        costs = {
            method: (cell.estimate.value / unit, *(bound / unit for bound in cell.interval(MACS)))
            for (where, method), row in cells.items()
            if where == dataset and method not in outcomes.static_methods and (cell := row["macs"]).estimate is not None
        }
        if not costs:
            unreached.append(dataset)
            continue
        method, (share, low, high) = min(costs.items(), key=lambda found: found[1][0])
        interval = "" if math.isnan(low) else f" (95% interval {100 * low:.0f} to {100 * high:.0f}%)"
        parts.append(f"{method} takes {100 * share:.0f}%{interval} of the MACs of {standard} on {dataset}")
    if not parts and not unreached:
        return ""
    sentence = f"To match the best static network, {join(parts)}" if parts else ""
    if unreached:
        missed = f"no adaptive method matches the best static network in every seed on {_listed(unreached)}"
        sentence = f"{sentence}; {missed}" if sentence else missed[0].upper() + missed[1:]
    return sentence + "."


def choosing(judged: Sequence[Mapping[str, Any]]) -> str:
    """What an agent's choices are worth, against policies that do not look and against thresholds."""
    blind = {found["dataset"]: found for found in judged if found["metric"] == "advantage_over_blind"}
    threshold = {found["dataset"]: found for found in judged if found["metric"] == "advantage_over_threshold"}
    parts = []
    for dataset, found in blind.items():
        if found["verdict"] == "not tested":
            parts.append(f"it made no choice on {dataset}")
        elif found["low"] is not None:
            other = threshold.get(dataset)
            against = (
                ""
                if other is None or other["low"] is None
                else f" and {_worth(other)} the best threshold on confidence"
            )
            parts.append(
                f"on {dataset} it is {_worth(found)} the best policy that does not look at the sample{against}"
            )
    method = next((found["method"] for found in judged), "")
    return f"The agent of {method} at equal compute: {join(parts, '; ')}." if parts else ""


def _worth(found: Mapping[str, Any]) -> str:
    low, high, effect = (100 * found[name] for name in ("low", "high", "effect"))
    if low <= 0 <= high:
        return f"level with ({_signed(effect)} points, {_signed(low)} to {_signed(high)})"
    side = "above" if effect > 0 else "below"
    return f"{abs(effect):.2f} points ({min(abs(low), abs(high)):.2f} to {max(abs(low), abs(high)):.2f}) {side}"


def _signed(value: float) -> str:
    """Two decimals with a sign, which zero has none of."""
    return f"{value:+.2f}" if abs(value) >= 0.005 else "0"


def advice(boards: Sequence[Board]) -> list[str]:
    """When to use which method, one sentence for each dataset and run of budgets with the same answer."""
    sentences = []
    for board in boards:
        answers = [(share, _answer(board, place)) for place, share in enumerate(BUDGETS)]
        for answer, same in groupby(answers, key=lambda found: found[1]):
            if answer is None:
                continue
            shares = [share for share, _ in same]
            span = (
                f"{100 * shares[0]:.0f}%" if len(shares) == 1 else f"{100 * shares[0]:.0f} to {100 * shares[-1]:.0f}%"
            )
            method, why = answer[0], _why(board, answer, BUDGETS.index(shares[-1]))
            sentences.append(
                f"Use {method} on {board['dataset']} at {span} of the compute of {board['reference']}: {why}."
            )
    return sentences


def _answer(board: Board, place: int) -> tuple[str, tuple[str, ...]] | None:
    """The method to use at a budget, and those it ties with: of these it is the cheapest."""
    marked = [row for row in board["rows"] if row["cells"][place]["place"]]
    if not marked:
        return None
    cheapest = min(marked, key=lambda row: row["cells"][place]["macs"])
    return cheapest["method"], tuple(sorted(row["method"] for row in marked if row is not cheapest))


def _why(board: Board, answer: tuple[str, tuple[str, ...]], place: int) -> str:
    cells = {row["method"]: row["cells"][place] for row in board["rows"]}
    method, level = answer
    number = _accuracy(cells[method])
    if level:
        return f"{number}, level with {_listed(level)} and the cheapest of them"
    rest = [(cell["value"], name) for name, cell in cells.items() if name != method and cell["value"] is not None]
    if not rest:
        return number
    value, second = max(rest)
    return f"{number}, {points(cells[method]['value'] - value)} above {second}"


def _accuracy(cell: Mapping[str, Any]) -> str:
    interval = f", 95% interval {cell['interval']}" if cell["interval"] else ""
    return f"{cell['text']}%{interval}"


def points(difference: float) -> str:
    """A difference of accuracies in words."""
    return f"{100 * abs(difference):.1f} points"


def _listed(names: Iterable[str]) -> str:
    return join(list(names))


def join(parts: Sequence[str], separator: str = ", ") -> str:
    """A list in a sentence: "a, b and c"; clauses that hold commas are separated by semicolons."""
    if any("," in part for part in parts):
        separator = "; "
    if len(parts) < 2:
        return "".join(parts)
    return separator.join(parts[:-1]) + (f"{separator}and " if separator == "; " else " and ") + parts[-1]
