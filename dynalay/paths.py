"""Controls of a sweep: whole paths, chosen by somebody else than the agent, with the same weights.

A path is the layers that are evaluated, counted from 1, in order. Some controls do not look at the sample: fixed
paths, random layers, and the agent's own paths shuffled over the samples. They are spared the bare pass, which they
would not use. Two look at the bare answer: a threshold on its entropy, or on its highest probability, picks one of two
paths.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from dynalay import confidence, policies
from dynalay.classifier import OperatingPoint
from dynalay.controls import SHARES

Path = tuple[int, ...]

#: With more layers than this, not every path can be tried.
ALL_PATHS = 6
#: Thresholds tried between each two paths.
QUANTILES = 100
#: The rules that look at the bare answer, as doubt: above the threshold, the longer path is taken.
DOUBT: Mapping[str, Callable[[Tensor], Tensor]] = {
    "entropy": confidence.entropy,
    "max_probability": lambda logits: 1 - confidence.max_probability(logits),
}


def fixed_paths(layers: int) -> list[Path]:
    """Paths worth trying: the empty one, the full one, and then others.

    The others are all there are for few layers; else each layer alone, all but one, and all up to or above one of them.
    """
    everything = tuple(range(1, layers + 1))
    if layers <= ALL_PATHS:
        others = [path for length in range(1, layers) for path in itertools.combinations(everything, length)]
    else:
        others = [
            path
            for layer in everything
            for path in (
                (layer,),
                tuple(other for other in everything if other != layer),
                everything[:layer],
                everything[layer:],
            )
        ]
    return list(dict.fromkeys([(), everything, *others]))


def table(paths: Sequence[Path], layers: int, device: torch.device | str = "cpu") -> Tensor:
    """The paths as bool [paths, layers]."""
    return torch.tensor([[layer in path for layer in range(1, layers + 1)] for path in paths], device=device)


def blind_paths(point: OperatingPoint, images: Tensor, layers: int) -> Tensor | None:
    """The path of each sample, bool [batch, layers], at a control that does not look; None for one that does."""
    match point.policy:
        case "never" | "always" | "schedule":
            every = tuple(range(1, layers + 1))
            path = {"never": (), "always": every}.get(point.policy, point.setting)
            return table([path], layers, images.device).expand(len(images), -1)
        case "random":
            hashes = policies.image_hash(images)
            draws = [policies.chance(hashes, layer) < point.knob for layer in range(1, layers + 1)]
            return torch.stack(draws, dim=1)
        case "shuffled":
            counts = torch.tensor([count for _, count in point.setting], dtype=torch.float64, device=images.device)
            ends = counts.cumsum(dim=0) / counts.sum()
            drawn = policies.chance(policies.image_hash(images), 0)
            picked = torch.searchsorted(ends, drawn, right=True).clamp_max(len(counts) - 1)
            return table([path for path, _ in point.setting], layers, images.device)[picked]
    return None


def threshold_paths(point: OperatingPoint, bare_logits: Tensor, layers: int) -> Tensor:
    """The path of each sample, bool [batch, layers], where a threshold on its bare answer's doubt picks one of two."""
    if point.policy not in DOUBT:
        raise ValueError(f"no policy {point.policy!r}")
    threshold, two = point.setting[0], table(point.setting[1:], layers, bare_logits.device)
    return two[(DOUBT[point.policy](bare_logits) > threshold).long()]


def control_points(
    layers: int,
    taken: Mapping[float, Sequence[Path]],
    bare_logits: Tensor,
    correct: Tensor,
    macs: Tensor,
) -> list[OperatingPoint]:
    """The controls' operating points, chosen on the validation split.

    Args:
        layers: of the network.
        taken: by knob, the path of each sample under the agent.
        bare_logits: [samples, classes].
        correct: whether the answer of each of `fixed_paths` is right, float [samples, paths].
        macs: of each of these, after a bare pass, [paths].
    """
    paths = fixed_paths(layers)
    return [
        OperatingPoint(0, "never"),
        OperatingPoint(1, "always"),
        *(OperatingPoint(number, "schedule", path) for number, path in enumerate(paths[2:], start=1)),
        *(OperatingPoint(share, "random") for share in SHARES),
        *(OperatingPoint(knob, "shuffled", tuple(sorted(Counter(each).items()))) for knob, each in taken.items()),
        *(point for rule in DOUBT for point in _thresholds(rule, paths, bare_logits, correct, macs)),
    ]


def _thresholds(
    rule: str, paths: Sequence[Path], bare_logits: Tensor, correct: Tensor, macs: Tensor
) -> list[OperatingPoint]:
    """The thresholds and pairs of paths that no mixture of others beats on the validation split.

    The pairs are of paths that, followed by everybody, no mixture beats either.
    """
    correct, macs = correct.double().cpu(), macs.double().cpu()
    doubt = DOUBT[rule](bare_logits).double().cpu()
    levels = torch.arange(1, QUANTILES, dtype=torch.float64) / QUANTILES
    # Six digits, as in the points' names.
    thresholds = sorted({float(f"{value:.6g}") for value in doubt.quantile(levels, interpolation="midpoint").tolist()})
    sure = torch.stack([doubt <= threshold for threshold in thresholds]).double()  # [thresholds, samples]
    best = envelope(macs, correct.mean(dim=0))
    costs, accuracies, settings = [], [], []
    for low, high in itertools.combinations(best, 2):  # in order of their costs
        share = sure.mean(dim=1)
        costs.append(share * macs[low] + (1 - share) * macs[high])
        accuracies.append((sure @ correct[:, low] + (1 - sure) @ correct[:, high]) / len(doubt))
        settings += [(threshold, paths[low], paths[high]) for threshold in thresholds]
    if not settings:
        return []
    chosen = [settings[index] for index in envelope(torch.cat(costs), torch.cat(accuracies))]
    # Where two pairs share a threshold, the cheaper one keeps it, since names must differ.
    points = {setting[0]: OperatingPoint(setting[0], rule, setting) for setting in reversed(chosen)}
    return [points[threshold] for threshold in sorted(points, reverse=True)]


def envelope(costs: Tensor, accuracies: Tensor) -> list[int]:
    """Indices of the points that no mixture of others beats, in order of cost: the upper concave envelope.

    Args:
        costs: float64 [points].
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
