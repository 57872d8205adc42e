"""Controls of a sweep: whole paths, chosen by somebody else than the agent, with the same weights.

A path says how often each layer is evaluated. Some controls do not look at the sample: fixed paths, random evaluations,
and the agent's own paths shuffled over the samples. They are spared the bare pass, which they would not use. Two look
at an answer's confidence: its entropy, or its highest probability. They take one of two paths by the bare answer, or
follow a path and stop in the last stage as soon as the answer is sure.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64, Num
from torch import Tensor

from dynalay import confidence, policies
from dynalay.classifier import Logits, OperatingPoint
from dynalay.controls import SHARES
from dynalay.sleeping import SleepingNetwork
from dynalay.sweep import Path, Sweep

Images = Float[Tensor, "batch channels height width"]
#: The path of each sample.
Paths = Int64[Tensor, "batch layers"]
#: If there are more paths than this, not every one is tried.
ALL_PATHS = 64
#: Thresholds tried for each rule.
QUANTILES = 200
#: The rules that look at an answer, as doubt: above the threshold, more is computed.
DOUBT: Mapping[str, Callable[[Tensor], Tensor]] = {
    "entropy": confidence.entropy,
    "max_probability": lambda logits: 1 - confidence.max_probability(logits),
}


def fixed_paths(layers: int, evaluations: int = 1) -> list[Path]:
    """Paths worth trying: the empty one, the full one, and then others.

    The others are all there are, if these are few; else each layer alone, all but one, all up to or above one of them,
    and all of them less often.
    """
    empty, full = (0,) * layers, (evaluations,) * layers
    if (evaluations + 1) ** layers <= ALL_PATHS:
        others = list(itertools.product(range(evaluations + 1), repeat=layers))
    else:
        others = [(often,) * layers for often in range(1, evaluations)]
        for layer in range(layers):
            for chosen in ({layer}, set(range(layers)) - {layer}, set(range(layer + 1)), set(range(layer + 1, layers))):
                others.append(tuple(evaluations if number in chosen else 0 for number in range(layers)))
    return list(dict.fromkeys([empty, full, *others]))


def table(paths: Sequence[Path], device: torch.device | str = "cpu") -> Int64[Tensor, "paths layers"]:
    """The paths as int64 [paths, layers]."""
    return torch.tensor(paths, dtype=torch.int64, device=device)


def blind_paths(point: OperatingPoint, images: Images, layers: int, evaluations: int) -> Paths | None:
    """The path of each sample, int64 [batch, layers], at a control that does not look; None for one that does."""
    match point.policy:
        case "never" | "always" | "schedule":
            path = {"never": (0,) * layers, "always": (evaluations,) * layers}.get(point.policy, point.setting)
            return table([path], images.device).expand(len(images), -1)
        case "random":
            hashes = policies.image_hash(images)
            draws = [policies.chance(hashes, draw) < point.knob for draw in range(1, layers * evaluations + 1)]
            # A layer is evaluated again as long as chance will have it.
            return torch.stack(draws, dim=1).view(-1, layers, evaluations).long().cumprod(dim=2).sum(dim=2)
        case "shuffled":
            counts = torch.tensor([count for _, count in point.setting], dtype=torch.float64, device=images.device)
            ends = counts.cumsum(dim=0) / counts.sum()
            drawn = policies.chance(policies.image_hash(images), 0)
            picked = torch.searchsorted(ends, drawn, right=True).clamp_max(len(counts) - 1)
            return table([path for path, _ in point.setting], images.device)[picked]
    return None


def exits(path: Path, last: int) -> list[Path]:
    """Where a sample on its way along `path` may stop: `path` is the last, the bare answer the first.

    In between, it may stop after each evaluation in the last stage.

    Args:
        path: of a sweep.
        last: the first layer of the last stage.
    """
    found = [(0,) * len(path)]
    for layer in range(last, len(path)):
        found += [(*path[:layer], often, *(0,) * (len(path) - layer - 1)) for often in range(1, path[layer] + 1)]
    return list(dict.fromkeys([*found, path]))


def reachable(point: OperatingPoint, images: Images, network: SleepingNetwork) -> set[Path]:
    """The paths that samples of a batch may end with at a control."""
    blind = blind_paths(point, images, len(network.stages), network.evaluations)
    if blind is not None:
        return {tuple(row) for row in blind.unique(dim=0).tolist()}
    _, *ways = point.setting
    return set(ways if len(ways) == 2 else exits(ways[0], network.last))


def reached(
    point: OperatingPoint, images: Images, answers: Mapping[Path, Logits], network: SleepingNetwork
) -> tuple[Paths, Int64[Tensor, "batch"]]:
    """The path that each sample ends with at a control, int64 [batch, layers], and how many exits it passed, [batch].

    Args:
        point: of a control.
        images: [batch, channels, height, width].
        answers: by path, [batch, classes]; those of the empty path and of all that are `reachable`.
        network: whose paths they are.
    """
    blind = blind_paths(point, images, len(network.stages), network.evaluations)
    none = torch.zeros(len(images), dtype=torch.int64, device=images.device)
    if blind is not None:
        return blind, none
    doubt, (threshold, *ways) = DOUBT[point.policy], point.setting
    if len(ways) == 2:
        doubtful = doubt(answers[(0,) * len(network.stages)]) > threshold
        return table(ways, images.device)[doubtful.long()], none
    stops = exits(ways[0], network.last)
    going = torch.stack([doubt(answers[path]) > threshold for path in stops[:-1]])
    passed = going.long().cumprod(dim=0).sum(dim=0)
    return table(stops, images.device)[passed], passed


def follow_until_sure(sweep: Sweep, path: Path, doubtful: Callable[[Tensor, int], Tensor]) -> Logits:
    """Follow `path`, and stop at the first of its `exits` where the newest answer is not doubtful: [batch, classes].

    Args:
        sweep: at its beginning, over a known bare pass.
        path: of all samples.
        doubtful: from the newest answers [batch, classes] and how many exits were passed, bool [batch].
    """
    passed = 0
    going = doubtful(sweep.answer(), passed)
    for layer, often in enumerate(path):
        sweep.arrive(layer)
        for done in range(often):
            sweep.evaluate(layer, going.nonzero().squeeze(1), again=done > 0)
            if layer >= sweep.network.last:
                passed += 1
                going = going & doubtful(sweep.answer(), passed)
    return sweep.answer()


@dataclass(frozen=True)
class Tried:
    """Every fixed path on the validation split.

    Attributes:
        paths: as `fixed_paths` gives them.
        macs: of each after a bare pass, int64 [paths].
        head: MACs of the head, which runs at every exit.
        last: the first layer of the last stage.
        correct: whether the answer after each is right, float [samples, paths].
        doubt: in each of these answers, by rule: float [samples, paths].
    """

    paths: Sequence[Path]
    macs: Int64[Tensor, "paths"]
    head: int
    last: int
    correct: Float[Tensor, "samples paths"]
    doubt: Mapping[str, Float[Tensor, "samples paths"]]


def control_points(taken: Mapping[float, Sequence[Path]], tried: Tried) -> list[OperatingPoint]:
    """The controls' operating points, chosen on the validation split.

    Args:
        taken: by knob, the path of each sample under the agent.
        tried: see there.
    """
    rules = {rule: _thresholds(rule, tried) for rule in DOUBT}
    return [
        OperatingPoint(0, "never"),
        OperatingPoint(1, "always"),
        *(OperatingPoint(number, "schedule", path) for number, path in enumerate(tried.paths[2:], start=1)),
        *(OperatingPoint(share, "random") for share in SHARES),
        *(OperatingPoint(knob, "shuffled", tuple(sorted(Counter(each).items()))) for knob, each in taken.items()),
        *(OperatingPoint(number, rule, each) for rule, found in rules.items() for number, each in enumerate(found, 1)),
    ]


def _thresholds(rule: str, tried: Tried) -> list[tuple[float | Path, ...]]:
    """Settings of a rule that no mixture of others beats on the validation split, the cheapest first.

    A setting is a threshold on doubt and either two paths, the second for those whose bare answer is in doubt, or one,
    left at the first of its `exits` that is sure. Only paths that no mixture beats, followed by everybody, are tried.
    """
    doubt, correct, macs = (each.double().cpu() for each in (tried.doubt[rule], tried.correct, tried.macs))
    number = {path: index for index, path in enumerate(tried.paths)}
    levels = torch.arange(1, QUANTILES, dtype=torch.float64) / QUANTILES
    best = envelope(macs, correct.mean(dim=0))
    costs, accuracies, settings = [], [], list[tuple[float | Path, ...]]()

    bare = doubt[:, number[(0,) * len(tried.paths[0])]]
    thresholds = bare.quantile(levels, interpolation="midpoint").unique()
    sure = (bare <= thresholds[:, None]).double()  # [thresholds, samples]
    share = sure.mean(dim=1)
    for low, high in itertools.combinations(best, 2):  # in order of their costs
        costs.append(share * macs[low] + (1 - share) * macs[high])
        accuracies.append((sure @ correct[:, low] + (1 - sure) @ correct[:, high]) / len(doubt))
        settings += [(threshold, tried.paths[low], tried.paths[high]) for threshold in thresholds.tolist()]

    for path in (tried.paths[index] for index in best):
        ways = exits(path, tried.last)
        if len(ways) < 3 or not set(ways) <= set(number):  # with two exits, the rule above is the same
            continue
        stops_at = [number[way] for way in ways]
        # Beyond the first, each exit costs one more answer than the fixed path that ends there.
        spent = macs[stops_at] + tried.head * (torch.arange(len(ways)) - 1).clamp_min(0)
        thresholds = doubt[:, stops_at[:-1]].flatten().quantile(levels, interpolation="midpoint").unique()
        going = doubt[:, stops_at[:-1]] > thresholds[:, None, None]  # [thresholds, samples, exits]
        stops = going.long().cumprod(dim=2).sum(dim=2)
        costs.append(spent[stops].mean(dim=1))
        accuracies.append(correct[:, stops_at].expand(len(stops), -1, -1).gather(2, stops[..., None]).mean(dim=(1, 2)))
        settings += [(threshold, path) for threshold in thresholds.tolist()]
    if not settings:
        return []
    return [settings[index] for index in envelope(torch.cat(costs), torch.cat(accuracies))]


def envelope(costs: Num[Tensor, "points"], accuracies: Float[Tensor, "points"]) -> list[int]:
    """Indices of the points that no mixture of others beats, in order of cost: the upper concave envelope.

    Args:
        costs: int64 or float64 [points].
        accuracies: float64 [points].
    """
    x, y = costs.tolist(), accuracies.tolist()
    hull: list[int] = []
    for point in sorted(range(len(x)), key=lambda index: (x[index], -y[index])):
        if hull and y[point] <= y[hull[-1]]:
            continue
        while len(hull) > 1:
            first, second = hull[-2:]
            if (y[second] - y[first]) * (x[point] - x[first]) > (y[point] - y[first]) * (x[second] - x[first]):
                break
            hull.pop()
        hull.append(point)
    return hull
