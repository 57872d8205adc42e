"""Controls: operating points at which somebody else decides in the agent's place, with the same weights.

Some do not look at the sample: `never` and `always` go on, fixed `schedule`s, `random` choice, and the agent's own
sequences of actions `shuffled` over the samples. The best mixture of these is the best policy that does not look. Two
do look, by the simplest rules there are: a threshold on the answer's `entropy` or on its `max_probability`. An agent is
worth something where it beats both kinds.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from dynalay import confidence, policies
from dynalay.classifier import OperatingPoint
from dynalay.policies import Policy

#: Probabilities of going on, of random choice.
SHARES = (0.15, 0.3, 0.5, 0.7, 0.85)
#: About how many fixed schedules are recorded: with more layers, not all of them can be.
SCHEDULES = 12


def control_points(
    layers: Sequence[int],
    rounds: int,
    thresholds: int,
    sequences: Mapping[float, Sequence[tuple[int, ...]]],
    logits: Sequence[Float[Tensor, "_ classes"]],
) -> list[OperatingPoint]:
    """The controls' operating points, each with a name of its own.

    Args:
        layers: those that may be evaluated again, counted from 1.
        rounds: how many there may be.
        thresholds: how many of each kind; as many as the agent has points, so that both curves are equally fine.
        sequences: by price, the layers that the agent evaluated for each sample of the validation split.
        logits: of that split after 0, 1, ... rounds of `policies.always`, each [samples, classes].
    """
    doubts = _quantiles(confidence.entropy, logits, thresholds)
    sure = _quantiles(confidence.max_probability, logits, thresholds)
    return [
        OperatingPoint(0, "never"),
        *(OperatingPoint(count, "always") for count in range(1, rounds + 1)),
        *(OperatingPoint(number, "schedule", steps) for number, steps in enumerate(schedules(layers, rounds), start=1)),
        *(OperatingPoint(share, "random") for share in SHARES),
        *(
            OperatingPoint(price, "shuffled", tuple(sorted(Counter(taken).items())))
            for price, taken in sequences.items()
        ),
        *(OperatingPoint(value, "entropy") for value in doubts),
        *(OperatingPoint(value, "max_probability") for value in sure),
    ]


def control_policy(point: OperatingPoint, images: Float[Tensor, "batch ..."], layers: Sequence[int]) -> Policy:
    """Who decides at a control's operating point.

    Raises:
        ValueError: there is no such control.
    """
    match point.policy:
        case "never":
            return policies.always(layers, 0)
        case "always":
            return policies.always(layers, int(point.knob))
        case "schedule":
            return policies.schedule(point.setting)
        case "random":
            return policies.random(images, layers, point.knob)
        case "shuffled":
            return policies.shuffled(images, point.setting)
        case "entropy":
            return policies.entropy_threshold(layers, point.knob)
        case "max_probability":
            return policies.probability_threshold(layers, point.knob)
    raise ValueError(f"no policy {point.policy!r}")


def schedules(layers: Sequence[int], rounds: int) -> list[tuple[int, ...]]:
    """Fixed sequences of layers of every length, without those of `policies.always`.

    All sequences of a length as long as they are few; of greater lengths, one layer again and again, and the sweep
    downwards.
    """
    found: list[tuple[int, ...]] = []
    for length in range(1, rounds + 1):
        sequences = list(itertools.islice(itertools.product(layers, repeat=length), SCHEDULES + 1))
        if len(found) + len(sequences) > SCHEDULES:
            downwards = tuple(itertools.islice(itertools.cycle(reversed(layers)), length))
            sequences = [*((layer,) * length for layer in layers), downwards]
        upwards = tuple(itertools.islice(itertools.cycle(layers), length))
        found += [sequence for sequence in dict.fromkeys(sequences) if sequence != upwards]
    return found


def _quantiles(measure: Callable[[Tensor], Tensor], logits: Sequence[Tensor], count: int) -> list[float]:
    """Distinct values of a measure of confidence, at even quantiles over the samples and all rounds but the last."""
    if not logits:
        return []
    values = torch.cat([measure(each) for each in logits]).double().cpu()
    levels = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    # Six digits, as in the points' names.
    return sorted({float(f"{value:.6g}") for value in values.quantile(levels, interpolation="midpoint").tolist()})
