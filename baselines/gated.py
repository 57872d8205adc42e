"""Residual networks whose blocks can be skipped: what SkipNet, ConvNet-AIG and BlockDrop have in common.

Block k of a ResNet computes ``relu(shortcut(x) + branch(x))``. With a gate g it computes ``relu(shortcut(x) + g
branch(x))``: a closed gate leaves the features as they are, but for the shortcut where the shape changes, which
always runs. At inference the branch runs on the samples whose gate is open and on no others.

The methods differ in how a gate opens, and in how it learns to. A published gate opens where its probability exceeds
one half, and each budget needs a training of its own. To trace a curve with one trained model, the suite also sweeps
that threshold at inference; the sweep is ours.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from baselines.backbone import Backbone
from dynalay.classifier import AdaptiveClassifier, OperatingPoint
from dynalay.components import Component
from dynalay.meter import Meter
from dynalay.rows import added, take

#: The threshold on a gate's probability that the papers use.
PUBLISHED_THRESHOLD = 0.5

#: The probability that the gate of block k (counted from 0) is open, float [batch], from the block's input.
Gates = Callable[[int, Tensor], Tensor]


class GatedResNet(AdaptiveClassifier):
    """A ResNet with a gate for each block, open where its probability exceeds the operating point's knob.

    Args:
        backbone: the residual network to gate; its modules are taken over.
        image_shape: (channels, height, width) of the normalised input.
        classes: the number of classes.
        points: how many thresholds the sweep has, at quantiles of the gates' probabilities.
    """

    def __init__(self, backbone: Backbone, image_shape: tuple[int, int, int], classes: int, points: int) -> None:
        super().__init__(image_shape, classes)
        self.points = points
        units: list[Any] = backbone.units
        self.stem = backbone.stem
        self.branches = nn.ModuleList(
            nn.Sequential(unit.conv1, unit.bn1, unit.act1, unit.conv2, unit.bn2) for unit in units
        )
        self.shortcuts = nn.ModuleList(unit.downsample or nn.Identity() for unit in units)
        self.head = backbone.head
        #: (channels, height, width) of what each block receives.
        self.input_shapes = [backbone.stem_shape, *backbone.unit_shapes[:-1]]
        self._features_shape = backbone.shapes[-1]

    @property
    def blocks(self) -> int:
        """The number of residual blocks."""
        return len(self.branches)

    @property
    def default_point(self) -> OperatingPoint:
        """The papers' threshold."""
        return OperatingPoint(PUBLISHED_THRESHOLD)

    def components(self) -> dict[str, Component]:
        """Stem, every block's shortcut (where it is not the identity) and branch, and the head."""
        components = {"stem": Component(self.stem, (self.image_shape,))}
        for k, (branch, shortcut) in enumerate(zip(self.branches, self.shortcuts, strict=True)):
            if not isinstance(shortcut, nn.Identity):
                components[f"block{k + 1}.shortcut"] = Component(shortcut, (self.input_shapes[k],))
            components[f"block{k + 1}.branch"] = Component(branch, (self.input_shapes[k],))
        return components | {"head": Component(self.head, (self._features_shape,))}

    @abstractmethod
    def gates(self, images: Tensor, meter: Meter) -> Gates:
        """The gates' probabilities for a batch; called once for each block, from the first to the last.

        Args:
            images: [batch, channels, height, width].
            meter: executes whatever a gate is made of.
        """

    def classify(self, images: Tensor, point: OperatingPoint, meter: Meter) -> Tensor:
        gates, features = self.gates(images, meter), meter("stem", images)
        for k in range(self.blocks):
            gate = gates(k, features)
            is_open = gate > point.knob
            meter.decision(
                f"block {k + 1}", ("skip", "run"), is_open, {"gate": gate, "threshold": point.knob},
                partial(self._skipping, k, features),
            )  # fmt: skip
            features = self.run_block(k, features, is_open.nonzero().squeeze(1), meter)
        return meter("head", features)

    def run_block(self, k: int, features: Tensor, rows: Tensor, meter: Meter) -> Tensor:
        """Block k for the whole batch, with its branch on `rows` (int64, in order) alone."""
        output = self._shortcut(k, features, meter)
        if len(rows):
            output = added(output, rows, meter(f"block{k + 1}.branch", take(features, rows), rows=rows))
        return functional.relu(output)

    def _skipping(self, k: int, features: Tensor) -> Tensor:
        """The logits [batch, classes] if block k and all above it were skipped; for `Meter.decision`."""
        for shortcut in self.shortcuts[k:]:
            features = functional.relu(shortcut(features))
        return self.head(features)

    def train_block(self, k: int, features: Tensor, gate: Tensor, meter: Meter) -> Tensor:
        """Block k with every branch computed, then weighted by `gate`, float [batch], which gets a gradient."""
        branch = meter(f"block{k + 1}.branch", features)
        return functional.relu(self._shortcut(k, features, meter) + gate[:, None, None, None] * branch)

    def _shortcut(self, k: int, features: Tensor, meter: Meter) -> Tensor:
        if isinstance(self.shortcuts[k], nn.Identity):
            return features
        return meter(f"block{k + 1}.shortcut", features)

    @torch.no_grad()
    def operating_points(self, validation: Iterable[tuple[Tensor, Tensor]]) -> list[OperatingPoint]:
        """The papers' threshold, and quantiles of the gates' probabilities under it on the validation split.

        A uniform grid would give most of its points the same compute, since gates tend to be sure.
        """
        seen: list[Tensor] = []
        components = self.components()
        for images, _ in validation:
            meter = Meter(components, len(images), images.device)
            gates, features = self.gates(images, meter), meter("stem", images)
            for k in range(self.blocks):
                probability = gates(k, features)
                seen.append(probability.cpu())
                rows = (probability > PUBLISHED_THRESHOLD).nonzero().squeeze(1)
                features = self.run_block(k, features, rows, meter)
        quantiles = torch.cat(seen).quantile(torch.linspace(0, 1, self.points))
        # Four digits: thresholds closer than that are one point.
        thresholds = {0.0, *(float(f"{threshold:.4g}") for threshold in quantiles.tolist())}
        return [OperatingPoint(threshold) for threshold in sorted(thresholds | {PUBLISHED_THRESHOLD}, reverse=True)]


def straight_through(probability: Tensor, hard: Tensor) -> Tensor:
    """`hard` in the forward pass, with the gradient of `probability`; both float of one shape."""
    return hard + (probability - probability.detach())


def log_probability(probability: Tensor, gate: Tensor) -> Tensor:
    """The log-probability of each gate that was drawn, float, in the shape of both arguments; never below -100.

    Args:
        probability: that the gate is open, float32.
        gate: 1 for a gate that was drawn open, 0 for one that was drawn closed.
    """
    # CUDA's autocast refuses this function, since it expects half precision here.
    with torch.autocast(probability.device.type, enabled=False):
        return -functional.binary_cross_entropy(probability, gate, reduction="none")
