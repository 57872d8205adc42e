"""ACT: adaptive computation time, here over the residual units of each stage of a ResNet.

Graves, "Adaptive Computation Time for Recurrent Neural Networks", arXiv 1603.08983, 2016; in residual networks:
Figurnov et al., "Spatially Adaptive Computation Time for Residual Networks", CVPR 2017, arXiv 1612.02297.

In a stage of L units with outputs x_1 ... x_L:

- halting score: h_n = sigmoid(W_n f(x_n) + b_n) for n < L, and h_L = 1; f pools by average over the image, and then, as
  in Figurnov's code, applies batch norm and a leaky ReLU of slope 0.1 (their equation has the pooling alone);
- units evaluated: N = min{n : h_1 + ... + h_n >= 1 - epsilon};
- halting distribution: p_n = h_n for n < N, and p_N = R = 1 - (h_1 + ... + h_{N-1}), the remainder;
- the stage's output: sum_{n <= N} p_n x_n;
- ponder cost: rho = N + R, whose gradient is that of R.

The loss is cross-entropy plus tau times the sum of the stages' ponder costs. As in Figurnov's code, training computes
all units for all samples; at inference a sample that has halted leaves the batch until the next stage.

Training has two phases. In the first the backbone learns alone, as a plain ResNet; in the second everything learns,
from halting scores near sigmoid(-3), at which a stage's output is nearly its last unit's. Figurnov et al. start from a
trained ResNet on ImageNet (the commands of their code for CIFAR-10 do not). If it halts from the first step, ACT
collapses on mazes: while cross-entropy is flat, the ponder cost is all that moves the scores, Adam makes their steps
as large for any tau, and a first score above 1 - epsilon has no gradient any more.

Departures. The backbone is the suite's, with post-activation units and ReLU; Figurnov's has pre-activation units and,
on CIFAR-10, leaky ReLUs. Both phases share one training, each with a learning-rate cycle of its own.

The published method has one operating point, 1 - epsilon = 0.99, and one training for each budget.  To trace a curve
with one trained model the suite also sweeps the halting threshold 1 - epsilon at inference; that sweep is ours.
"""

from collections.abc import Iterable
from functools import partial
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from baselines.backbone import Backbone
from dynalay.classifier import AdaptiveClassifier, OperatingPoint, Phase, TrainingState
from dynalay.components import Component
from dynalay.meter import Meter
from dynalay.rows import gathered, partition, take


class Halting(NamedTuple):
    """How one stage halts.

    Attributes:
        weights: p_n, float [samples, units].
        units: N, int64 [samples].
        ponder_cost: rho = N + R, float [samples].
    """

    weights: Tensor
    units: Tensor
    ponder_cost: Tensor


def halt(scores: Tensor, threshold: float) -> Halting:
    """Halting of a stage in which every unit was evaluated.

    Args:
        scores: h_n, float [samples, units], the last column 1.
        threshold: 1 - epsilon, in [0, 1].
    """
    totals = scores.cumsum(dim=1)
    before = functional.pad(totals[:, :-1], (1, 0))
    # Scores are no less than 0, so totals never fall; the last one is at least 1.
    last = (totals < threshold).sum(dim=1, keepdim=True)
    position = torch.arange(scores.shape[1], device=scores.device)
    weights = torch.where(position < last, scores, torch.where(position == last, 1 - before, 0.0))
    units = last.squeeze(1) + 1
    return Halting(weights, units, units + 1 - before.gather(1, last).squeeze(1))


class ACT(AdaptiveClassifier):
    """A ResNet whose stages halt for each sample by itself.

    It learns in two phases: "backbone", in which every unit is evaluated and a stage's output is its last unit's, and
    "halting", as in the papers.

    An operating point's knob is the halting threshold 1 - epsilon.

    Args:
        image_shape: (channels, height, width) of the normalised input.
        classes: the number of classes.
        depth: of the backbone, 6n + 2 with n >= 2: a stage of one unit has nothing to decide.
        channels: of the backbone's three stages.
        strides: of the backbone's three stages.
        pool: how the head pools, "average" or "maximum".
        tau: the price of ponder cost in the loss; the budget that training aims at.  The default is ours.
        backbone_share: of all steps, those in which the backbone learns alone, without halting.
        epsilon: how far below 1 the halting scores' sum may stay; the papers' by default.
        halting_bias: the b_n that training starts from; Figurnov's by default, at which nearly all units are evaluated.
        points: into how many steps of compute, nearly even, the sweep of the threshold divides the range.
    """

    version = 2  # it learnt to halt from the first step on
    search_space: ClassVar = {
        "tau": (0.003, 0.3, "log"),
        "backbone_share": (0.3, 0.7, "linear"),
        "halting_bias": (-4.0, -1.0, "linear"),
    }

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        classes: int,
        *,
        depth: int = 20,
        channels: tuple[int, int, int] = (16, 32, 64),
        strides: tuple[int, int, int] = (1, 2, 2),
        pool: Literal["average", "maximum"] = "average",
        tau: float = 0.03,
        backbone_share: float = 0.5,
        epsilon: float = 0.01,
        halting_bias: float = -3.0,
        points: int = 12,
    ) -> None:
        super().__init__(image_shape, classes)
        if depth < 14:
            raise ValueError(f"depth={depth} leaves one unit a stage, and ACT nothing to decide; take 14 or more")
        if not 0 < backbone_share < 1:
            raise ValueError(f"backbone_share={backbone_share} must lie between 0 and 1: both phases need steps")
        self.phases = (Phase("backbone"), Phase("halting", backbone_share))
        self.tau = tau
        self.threshold = 1 - epsilon
        self.points = points
        backbone = Backbone(image_shape, classes, depth, channels, strides, pool)
        self.units = len(backbone.layer1)  # of each stage
        self._shapes = backbone.shapes
        self._stem_shape = backbone.stem_shape
        self.stem = backbone.stem
        self.stages = nn.ModuleList(backbone.stages)
        self.halting = nn.ModuleList(
            nn.ModuleList(_halting_unit(stage_channels, halting_bias) for _ in range(self.units - 1))
            for stage_channels in channels
        )
        self.head = backbone.head

    @property
    def default_point(self) -> OperatingPoint:
        """The papers' threshold."""
        return OperatingPoint(self.threshold)

    def components(self) -> dict[str, Component]:
        components = {"stem": Component(self.stem, (self.image_shape,))}
        shape = self._stem_shape
        for k, (stage, halting) in enumerate(zip(self.stages, self.halting, strict=True), start=1):
            gates = list(halting.children())
            for n, unit in enumerate(stage.children(), start=1):
                components[f"stage{k}.unit{n}"] = Component(unit, (shape,))
                shape = self._shapes[k - 1]
                if n < self.units:
                    components[f"stage{k}.halting{n}"] = Component(gates[n - 1], (shape,))
        return components | {"head": Component(self.head, (shape,))}

    def _plain(self, images: Tensor, meter: Meter) -> Tensor:
        """Logits of the backbone without halting."""
        features = meter("stem", images)
        for k in range(1, len(self.stages) + 1):
            for n in range(1, self.units + 1):
                features = meter(f"stage{k}.unit{n}", features)
        return meter("head", features)

    def _all_units(self, images: Tensor, meter: Meter) -> tuple[Tensor, list[Tensor]]:
        """Logits with every unit evaluated for every sample, and each stage's halting scores [batch, units]."""
        features = meter("stem", images)
        stage_scores = []
        for k in range(1, len(self.stages) + 1):
            outputs, scores = [], []
            for n in range(1, self.units + 1):
                features = meter(f"stage{k}.unit{n}", features)
                outputs.append(features)
                scores.append(self._score(k, n, features, meter))
            stage_scores.append(torch.stack(scores, dim=1))
            weights = halt(stage_scores[-1], self.threshold).weights
            # Products by element, as at inference: whatever fvcore counts belongs into components.
            features = sum(w[:, None, None, None] * x for w, x in zip(weights.unbind(dim=1), outputs, strict=True))
        return meter("head", features), stage_scores

    def _score(self, stage: int, unit: int, features: Tensor, meter: Meter, rows: Tensor | None = None) -> Tensor:
        """h_n of the samples whose unit's output `features` [rows, ...] is: float [rows]."""
        if unit == self.units:
            return torch.ones(len(features), device=features.device)
        return meter(f"stage{stage}.halting{unit}", features, rows=rows).squeeze(1).float().sigmoid()

    def training_loss(
        self, images: Tensor, labels: Tensor, meter: Meter, state: TrainingState
    ) -> tuple[Tensor, dict[str, Tensor]]:
        if state.phase == "backbone":
            loss = functional.cross_entropy(self._plain(images, meter), labels)
            return loss, {"classification_loss": loss.detach()}
        logits, stage_scores = self._all_units(images, meter)
        classification = functional.cross_entropy(logits, labels)
        stages = [halt(scores, self.threshold) for scores in stage_scores]
        ponder_cost = torch.stack([stage.ponder_cost for stage in stages]).sum(dim=0).mean()
        logs = {f"stage{k}_units": stage.units.float().mean() for k, stage in enumerate(stages, start=1)}
        logs |= {"classification_loss": classification.detach(), "ponder_cost": ponder_cost.detach()}
        return classification + self.tau * ponder_cost, logs

    def classify(self, images: Tensor, point: OperatingPoint, meter: Meter) -> Tensor:
        features = meter("stem", images)
        for stage in range(1, len(self.stages) + 1):
            features = self._stage(stage, features, point.knob, meter)
        return meter("head", features)

    def _stage(self, stage: int, features: Tensor, threshold: float, meter: Meter) -> Tensor:
        """Output of a stage that a sample leaves as soon as it has halted."""
        rows = torch.arange(len(features), device=features.device)
        before = torch.zeros(len(features), device=features.device)
        halted, outputs = [], []
        output: Tensor | float = 0.0
        for unit in range(1, self.units + 1):
            features = meter(f"stage{stage}.unit{unit}", features, rows=rows)
            score = self._score(stage, unit, features, meter, rows)
            total = before + score
            halts = total >= threshold
            if unit < self.units:
                meter.decision(
                    f"stage {stage}, unit {unit}", ("go on", "halt"), halts,
                    {"score": score, "total": total, "threshold": threshold},
                    partial(self._hurried, stage, output, before, features), rows,
                )  # fmt: skip
            output = output + torch.where(halts, 1 - before, score)[:, None, None, None] * features
            leave, stay = partition(halts)
            if len(leave) or not len(rows):  # an empty batch has an output too
                halted.append(take(rows, leave))
                outputs.append(take(output, leave))
            rows, features, before, output = (take(part, stay) for part in (rows, features, total, output))
            if not len(rows):
                break
        # Scores are float32, and so is what they weight, whatever the model computes in.
        return gathered(halted, outputs).to(next(self.parameters()).dtype)

    def _hurried(self, stage: int, output: Tensor | float, before: Tensor, features: Tensor) -> Tensor:
        """The logits [rows, classes] if a stage halted here and those above it at once; for `Meter.decision`.

        Args:
            stage: from 1.
            output: the stage's output without the present unit.
            before: the sum of the scores before it, [rows].
            features: what the unit gave.
        """
        features = (output + (1 - before)[:, None, None, None] * features).to(next(self.parameters()).dtype)
        aside = Meter(self.components(), len(features), features.device)
        for above in range(stage + 1, len(self.stages) + 1):
            features = self._stage(above, features, 0.0, aside)
        return self.head(features)

    @torch.no_grad()
    def operating_points(self, validation: Iterable[tuple[Tensor, Tensor]]) -> list[OperatingPoint]:
        """The papers' threshold, and quantiles of the sums of scores that are compared with it on the validation split.

        Where sums lie close together a small step of the threshold changes much; by quantiles, compute changes evenly.
        """
        components = self.components()
        compared = []
        for images, _ in validation:
            _, stage_scores = self._all_units(images, Meter(components, len(images), images.device))
            for scores in stage_scores:
                sums = scores.cumsum(dim=1)
                evaluated = (sums - scores < self.threshold)[:, :-1]
                compared.append(sums[:, :-1][evaluated].clamp(max=self.threshold))
        levels = torch.linspace(0, 1, self.points)[:-1]
        quantiles = torch.cat(compared).cpu().quantile(levels)
        # Four digits: thresholds closer than that are one point.
        thresholds = {float(f"{threshold:.4g}") for threshold in quantiles.tolist()}
        return [OperatingPoint(threshold) for threshold in sorted(thresholds | {self.threshold})]


def _halting_unit(channels: int, bias: float) -> nn.Sequential:
    """The logit of h_n from x_n, as in Figurnov's code: [rows, channels, height, width] to [rows, 1]."""
    linear = nn.Linear(channels, 1)
    nn.init.constant_(linear.bias, bias)
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.BatchNorm1d(channels, eps=1e-3), nn.LeakyReLU(0.1), linear
    )
