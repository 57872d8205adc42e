"""SDN: internal classifiers along a network, and Zero Time Waste, which lets each use the answers of those before it.

Kaya, Hong & Dumitras, "Shallow-Deep Networks: Understanding and Mitigating Network Overthinking", ICML 2019, arXiv
1810.07052.

- Internal classifiers stand where 15, 30, 45, 60, 75 and 90% of the network's compute are spent (section 4.1): maximum
  and average pooling, mixed by a learnt share, to 4x4, then one linear layer.
- Training from scratch (section 4.2): the sum of all cross-entropies, the last with weight 1; the weight of the
  classifier at share c of the compute grows linearly from 0.01 to c.
- Inference: a sample leaves at the first classifier whose highest probability is at least q, the same for all.

Wolczyk, Wojcik, Balazy, Podolak, Tabor, Smieja & Trzcinski, "Zero Time Waste: Recycling Predictions in Early Exit
Neural Networks", NeurIPS 2021, arXiv 2106.05409 (`zero_time_waste: true`).

- Cascade (section 3.1): a classifier also sees the logits of the one before it, through which no gradient flows.
- Ensemble (eq. 1): after classifier m the answer is ``p_i ~ b_i prod_{j <= m} (p_ij)^(w_j)`` with learnt b, w > 0 for
  each m, trained by cross-entropy when all classifiers are trained.

Departures. The backbone is shared by the suite, and at small depths several shares fall on one unit, which then has one
classifier. The ensembles learn in the last tenth of the same training, with the rest of the network frozen; the paper
trains classifiers on a frozen pretrained network, here they are trained with it, as SDN's are.
"""

import itertools
from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from baselines.backbone import Backbone
from baselines.exits import EarlyExitNetwork, State
from dynalay.classifier import OperatingPoint, Phase, TrainingState
from dynalay.components import Component, component_cost
from dynalay.meter import Meter

#: Where the paper's internal classifiers stand, in shares of the network's compute.
PLACES = (0.15, 0.3, 0.45, 0.6, 0.75, 0.9)
#: The weight of every internal classifier in the loss at the beginning.
FIRST_WEIGHT = 0.01
#: The share of all steps in which the ensembles learn.
ENSEMBLE_SHARE = 0.1


class SDN(EarlyExitNetwork):
    """A ResNet with internal classifiers. An operating point's knob is the confidence q at which a sample leaves.

    Args:
        image_shape: (channels, height, width) of the normalised input.
        classes: the number of classes.
        depth: of the backbone, 6n + 2.
        channels: of the backbone's three stages.
        strides: of the backbone's three stages.
        pool: how the last classifier pools, "average" or "maximum"; internal ones mix both, as the paper's.
        zero_time_waste: whether classifiers use the answers of those before them.
        points: how many confidences the sweep has, at quantiles of those on the validation split.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        classes: int,
        *,
        depth: int = 20,
        channels: tuple[int, int, int] = (16, 32, 64),
        strides: tuple[int, int, int] = (1, 2, 2),
        pool: Literal["average", "maximum"] = "average",
        zero_time_waste: bool = False,
        points: int = 12,
    ) -> None:
        backbone = Backbone(image_shape, classes, depth, channels, strides, pool)
        units, shapes = backbone.units, backbone.unit_shapes
        places = _places(backbone, image_shape)
        super().__init__(image_shape, classes, exits=len(places) + 1)
        self.points = points
        self.zero_time_waste = zero_time_waste
        if zero_time_waste:
            self.phases = (Phase("training"), Phase("ensemble", 1 - ENSEMBLE_SHARE))

        bounds = [0, *places, len(units)]
        segments = [units[start:end] for start, end in itertools.pairwise(bounds)]
        segments[0].insert(0, backbone.stem)
        self.segments = nn.ModuleList(nn.Sequential(*segment) for segment in segments)
        self._shapes = [shapes[place - 1] for place in places] + [shapes[-1]]
        self.final_weights = list(places.values())
        seen = classes if zero_time_waste else 0  # of the classifier before; the first one has none
        self.internal = nn.ModuleList(
            Classifier(_mixed_pool(shape), shape, seen if n else 0, classes)
            for n, shape in enumerate(self._shapes[:-1])
        )
        last_pool = nn.Sequential(backbone.global_pool)  # pools and flattens
        self.last = Classifier(last_pool, self._shapes[-1], seen, classes)
        self.ensembles = nn.ModuleList(Ensemble(n, classes) for n in range(1, self.exits + 1) if zero_time_waste)

    def components(self) -> dict[str, Component]:
        starts = [self.image_shape, *self._shapes]
        components = {}
        for n, segment in enumerate(self.segments, start=1):
            components[f"segment{n}"] = Component(segment, (starts[n - 1],))
            classifier = self.last if n == self.exits else self.internal[n - 1]
            answers = ((self.classes,),) if self.zero_time_waste and n > 1 else ()
            components[f"exit{n}"] = Component(classifier, (self._shapes[n - 1], *answers))
            if self.zero_time_waste:
                components[f"ensemble{n}"] = Component(self.ensembles[n - 1], ((n, self.classes),))
        return components

    def run_exit(self, n: int, state: State, memory: State, rows: Tensor, meter: Meter) -> tuple[Tensor, State]:
        if not self.zero_time_waste:
            return meter(f"exit{n}", *state, rows=rows), ()
        # What is remembered: the last classifier's logits, and the log-probabilities of all so far.
        before, history = memory if memory else (None, None)
        logits = meter(f"exit{n}", *state, *(() if before is None else (before.detach(),)), rows=rows)
        answer = logits.float().log_softmax(dim=1).unsqueeze(1)
        history = answer if history is None else torch.cat([history, answer], dim=1)
        return meter(f"ensemble{n}", history, rows=rows), (logits, history)

    def training_loss(
        self, images: Tensor, labels: Tensor, meter: Meter, state: TrainingState
    ) -> tuple[Tensor, dict[str, Tensor]]:
        if state.phase == "ensemble":
            self.segments.eval()
            self.internal.eval()
            with torch.no_grad():
                history = torch.stack([each.float().log_softmax(dim=1) for each in self._classifiers(images, meter)], 1)
            rows = torch.arange(len(images), device=images.device)
            answers = [meter(f"ensemble{n}", history[:, :n], rows=rows) for n in range(1, self.exits + 1)]
            loss = torch.stack([functional.cross_entropy(answer, labels) for answer in answers]).sum()
            return loss, {"ensemble_loss": loss.detach()}
        *early, last = [functional.cross_entropy(logits.float(), labels) for logits in self._classifiers(images, meter)]
        # Of all the classifiers' steps, not of the whole training's.
        weights = [FIRST_WEIGHT + (final - FIRST_WEIGHT) * state.progress for final in self.final_weights]
        weighted = [weight * loss for weight, loss in zip(weights, early, strict=True)]
        logs = {f"exit{n}_loss": loss.detach() for n, loss in enumerate([*early, last], start=1)}
        return torch.stack([*weighted, last]).sum(), logs

    def _classifiers(self, images: Tensor, meter: Meter) -> list[Tensor]:
        """The logits of every classifier by itself, without ensembles: each [batch, classes]."""
        features, answers = images, list[Tensor]()
        for n in range(1, self.exits + 1):
            features = meter(f"segment{n}", features)
            before = [answers[-1].detach()] if self.zero_time_waste and answers else []
            answers.append(meter(f"exit{n}", features, *before))
        return answers

    def operating_points(self, validation: Iterable[tuple[Tensor, Tensor]]) -> list[OperatingPoint]:
        """Quantiles of all confidences on the validation split, and both ends.

        A uniform grid would give most of its points the same compute, since confidences gather near 1. With nobody
        leaving early, internal classifiers are not run, unless the last answer is made of theirs.
        """
        early = self.validated(validation)[:, :-1].flatten()
        levels = torch.linspace(0, 1, self.points)[:-1]
        # Five digits: closer thresholds are one point.
        knobs = sorted({float(f"{q:.5g}") for q in early.quantile(levels).tolist()} | {0.0})
        points = [OperatingPoint(q, setting=(q,) * (self.exits - 1)) for q in knobs if q < 1]
        return [*points, self.default_point]

    @property
    def default_point(self) -> OperatingPoint:
        """Nobody leaves early."""
        never = torch.inf if self.zero_time_waste else None
        return OperatingPoint(1.0, setting=(never,) * (self.exits - 1))


class MixedPool(nn.Module):
    """Maximum and average pooling, mixed by a learnt share (Lee, Gallagher & Tu 2016).

    Args:
        side: of the output, in pixels.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        self.maximum = nn.AdaptiveMaxPool2d(side)
        self.average = nn.AdaptiveAvgPool2d(side)
        self.share = nn.Parameter(torch.tensor(0.5))

    def forward(self, features: Tensor) -> Tensor:
        """[rows, channels, height, width] to [rows, channels, side, side]."""
        return self.share * self.maximum(features) + (1 - self.share) * self.average(features)

    def for_inference(self) -> nn.Module:
        """The same, up to rounding, in three operations instead of six."""
        return _FixedMixedPool(self.maximum, self.average, float(self.share))


class _FixedMixedPool(nn.Module):
    """A `MixedPool` whose share does not change any more."""

    def __init__(self, maximum: nn.Module, average: nn.Module, share: float) -> None:
        super().__init__()
        self.maximum, self.average, self.share = maximum, average, share

    def forward(self, features: Tensor) -> Tensor:
        return torch.lerp(self.average(features), self.maximum(features), self.share)


def _mixed_pool(shape: tuple[int, int, int]) -> nn.Module:
    """Features pooled to 4x4, as the paper's, if they are larger, and flattened."""
    return nn.Sequential(*([MixedPool(4)] if min(shape[1:]) > 4 else []), nn.Flatten())


class Classifier(nn.Module):
    """Pooling and one linear layer, which may also see the logits of the classifier before.

    Args:
        pool: features to [rows, numbers].
        shape: (channels, height, width) of the features.
        seen: how many logits it sees beside; 0 for none.
        classes: the number of classes.
    """

    def __init__(self, pool: nn.Module, shape: tuple[int, int, int], seen: int, classes: int) -> None:
        super().__init__()
        self.pool = pool
        with torch.no_grad():
            numbers = pool(torch.zeros(1, *shape)).shape[1]
        self.seen = seen
        self.linear = nn.Linear(numbers + seen, classes)

    def forward(self, features: Tensor, before: Tensor | None = None) -> Tensor:
        """Logits [rows, classes] from [rows, channels, height, width] and, in a cascade, [rows, classes]."""
        pooled = self.pool(features)
        if not self.seen:  # known before it runs, unlike `before`, so that it can be traced for fast inference
            return self.linear(pooled)
        assert before is not None
        return self.linear(torch.cat([pooled, before], dim=1))


class Ensemble(nn.Module):
    """The geometric ensemble of the first m classifiers: log p_i = log b_i + sum_j w_j log p_ij + const, w > 0.

    Args:
        members: m.
        classes: the number of classes.
    """

    def __init__(self, members: int, classes: int) -> None:
        super().__init__()
        self.log_weights = nn.Parameter(torch.full((members,), 1 / members).log())
        self.log_bias = nn.Parameter(torch.zeros(classes))

    def forward(self, log_probabilities: Tensor) -> Tensor:
        """Logits of the ensemble [rows, classes] from the members' [rows, members, classes]."""
        return torch.einsum("j,njc->nc", self.log_weights.exp(), log_probabilities) + self.log_bias


def _places(backbone: Backbone, image_shape: tuple[int, int, int]) -> dict[int, float]:
    """After how many units each internal classifier stands, and its share of the backbone's compute."""
    starts = [backbone.stem_shape, *backbone.unit_shapes[:-1]]
    stem = component_cost(Component(backbone.stem, (image_shape,))).macs
    costs = [component_cost(Component(unit, (start,))).macs for unit, start in zip(backbone.units, starts, strict=True)]
    spent = torch.tensor([stem, *costs], dtype=torch.float64).cumsum(dim=0)[1:-1] / (stem + sum(costs))
    nearest = [int((spent - place).abs().argmin()) for place in PLACES]
    return {unit + 1: float(spent[unit]) for unit in sorted(set(nearest))}
