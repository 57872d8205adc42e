"""Findings in plain sentences, made from the numbers alone; where runs are missing, the sentence says so instead."""

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from benchmark.analysis.equal_compute import equal_accuracy
from benchmark.analysis.fixed_points import of_runs
from benchmark.analysis.formatting import MACS
from benchmark.analysis.leaderboard import BUDGETS, LEADING
from benchmark.analysis.outcomes import Outcomes
from benchmark.analysis.static_networks import best_static

Board = Mapping[str, Any]


def findings(outcomes: Outcomes, boards: Sequence[Board], judged: Sequence[Mapping[str, Any]]) -> list[str]:
    """Three sentences at most: who is ahead, what compute is saved, whether the agent's choices are worth anything.

    Without an agent, whether layers that are solved for fixed points reach them comes first.
    """
    common = [leaders(boards), saving(outcomes)]
    sentences = [*common, choosing(judged)] if judged else [converging(outcomes), *common]
    return [sentence for sentence in sentences if sentence]


def converging(outcomes: Outcomes) -> str:
    """How many samples reach their fixed points, and how many answers stay then: of each method's means, the least."""
    notes, parts = of_runs(outcomes), []
    for dataset in outcomes.datasets:
        of_method = {
            method: [notes.get((dataset, method, seed)) for seed in outcomes.seeds] for method in outcomes.methods
        }
        solved = {method: seeds for method, seeds in of_method.items() if any(seeds)}
        lacking = [method for method, seeds in solved.items() if None in seeds]
        means = [
            [np.mean([found[name] for found in seeds if found]) for name in ("converged", "held")]
            for method, seeds in solved.items()
            if method not in lacking
        ]
        if means:
            converged, held = np.min(means, axis=0)
            each = f"with each of the {len(means)} methods" if len(means) > 1 else "with the one method"
            without = f" ({_few(lacking)} not counted: seeds are missing)" if lacking else ""
            parts.append(
                f"on {dataset}, {each} solved for fixed points, {_least(converged)} test samples reach them, and "
                f"{_least(held)} answers stay the same when iterated four times as long{without}"
            )
    return f"Convergence: {join(parts, '; ')}." if parts else ""


def _least(share: float) -> str:
    """A share that is reached, in percent with one decimal, rounded down: "at least 99.9% of"."""
    return "all" if share == 1 else f"at least {math.floor(1000 * share + 1e-9) / 10:.1f}% of"


def leaders(boards: Sequence[Board]) -> str:
    """Who is most accurate within the reference's compute, dataset by dataset."""
    if not boards:
        return ""
    parts = [f"on {board['dataset']}, {_leader(board)}" for board in boards]
    return f"Within the compute of {boards[0]['reference']}: {join(parts, '; ')}."


def _leader(board: Board) -> str:
    rows = [row for row in board["rows"] if row["cells"][-1]["value"] is not None]
    if not rows:
        return "no method has a point that fits in all its seeds yet"
    lacking = [row["method"] for row in board["rows"] if row["cells"][-1]["value"] is None]
    without = f" ({_few(lacking)} not counted: seeds are missing or nothing fits)" if lacking else ""
    best = rows[0]
    number = _accuracy(best["cells"][-1])
    if best["cells"][-1]["place"] == "first":
        lead = points(best["cells"][-1]["value"] - rows[1]["cells"][-1]["value"])
        return f"{best['method']} is most accurate ({number}), {lead} above {rows[1]['method']}{without}"
    if len(rows) == 1:
        return f"only {best['method']} can be judged ({number}){without}"
    level = [row["method"] for row in rows[1:] if row["cells"][-1]["place"] == "tie"]
    others = "every other method" if len(level) == len(rows) - 1 > 3 else _few(level)
    shared = f", level with {others}" if level else ", but not shown to be ahead of all others"
    return f"{best['method']} is most accurate ({number}){shared}{without}"


def saving(outcomes: Outcomes) -> str:
    """The least compute at which an adaptive method is as accurate as the best static network."""
    _, cells = equal_accuracy(outcomes)
    parts = []
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
            parts.append(f"on {dataset}, no adaptive method is accurate enough in every seed")
            continue
        method, (share, low, high) = min(costs.items(), key=lambda found: found[1][0])
        interval = "" if math.isnan(low) else f" (95% interval {100 * low:.0f} to {100 * high:.0f}%)"
        parts.append(f"on {dataset}, {method} needs {100 * share:.0f}% of the MACs of {standard}{interval}")
    return f"To match the best static network: {join(parts, '; ')}." if parts else ""


def choosing(judged: Sequence[Mapping[str, Any]]) -> str:
    """What an agent's choices are worth, against policies that do not look and against thresholds."""
    blind = {found["dataset"]: found for found in judged if found["metric"] == "advantage_over_blind"}
    threshold = {found["dataset"]: found for found in judged if found["metric"] == "advantage_over_threshold"}
    parts = []
    for dataset, found in blind.items():
        if found["verdict"] == "not tested":
            parts.append(f"on {dataset}, it made no choice")
        elif found["low"] is not None:
            worth = [_worth(found, "the best policy that does not look at the sample")]
            if (other := threshold.get(dataset)) is not None and other["low"] is not None:
                worth.append(_worth(other, "the best threshold on confidence"))
            parts.append(f"on {dataset}, it is {' and '.join(worth)}")
    method = next((found["method"] for found in judged), "")
    return f"The agent of {method}, at equal compute: {join(parts, '; ')}." if parts else ""


def _worth(found: Mapping[str, Any], rival: str) -> str:
    low, high, effect = (100 * found[name] for name in ("low", "high", "effect"))
    if low <= 0 <= high:
        return f"level with {rival} ({_signed(effect)} points, {_signed(low)} to {_signed(high)})"
    side = "above" if effect > 0 else "below"
    return f"{abs(effect):.2f} points {side} {rival} ({min(abs(low), abs(high)):.2f} to {max(abs(low), abs(high)):.2f})"


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
                f"On {board['dataset']}, within {span} of the compute of {board['reference']}, use {method}: {why}."
            )
    return sentences


def _answer(board: Board, place: int) -> tuple[str, tuple[str, ...], bool] | None:
    """The method to use at a budget, those it ties with, of which it is the cheapest, and whether it is first alone."""
    marked = [row for row in board["rows"] if row["cells"][place]["place"] in LEADING]
    if not marked:
        return None
    cheapest = min(marked, key=lambda row: row["cells"][place]["macs"])
    level = tuple(sorted(row["method"] for row in marked if row is not cheapest))
    return cheapest["method"], level, cheapest["cells"][place]["place"] == "first"


def _why(board: Board, answer: tuple[str, tuple[str, ...], bool], place: int) -> str:
    cells = {row["method"]: row["cells"][place] for row in board["rows"]}
    method, level, first = answer
    number = _accuracy(cells[method])
    if level:
        return f"{number}; level with {_few(level)}, but the cheapest"
    if not first:
        return f"{number}, though not shown to be ahead of all others"
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


def _few(names: Sequence[str]) -> str:
    """The names, if they are few; else how many there are."""
    return join(names) if len(names) <= 3 else f"{len(names)} other methods"


def join(parts: Sequence[str], separator: str = ", ") -> str:
    """A list in a sentence: "a, b and c"; clauses that hold commas are separated by semicolons."""
    if any("," in part for part in parts):
        separator = "; "
    if len(parts) < 2:
        return "".join(parts)
    return separator.join(parts[:-1]) + (f"{separator}and " if separator == "; " else " and ") + parts[-1]
