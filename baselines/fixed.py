"""Networks that spend the same on every sample: one component that runs once, one operating point."""

import math
from collections.abc import Iterable

from torch import Tensor, nn
from torch.nn import functional

from dynalay.classifier import AdaptiveClassifier, OperatingPoint, TrainingState
from dynalay.components import Component
from dynalay.meter import Meter


class FixedNetwork(AdaptiveClassifier):
    """A whole network as one component; a subclass makes `network`, which maps images to logits [batch, classes]."""

    network: nn.Module

    def components(self) -> dict[str, Component]:
        return {"network": Component(self.network, (self.image_shape,))}

    def training_loss(
        self, images: Tensor, labels: Tensor, meter: Meter, state: TrainingState
    ) -> tuple[Tensor, dict[str, Tensor]]:
        return functional.cross_entropy(meter("network", images), labels), {}

    def classify(self, images: Tensor, point: OperatingPoint, meter: Meter) -> Tensor:
        return meter("network", images)

    def operating_points(self, validation: Iterable[tuple[Tensor, Tensor]]) -> list[OperatingPoint]:
        return [OperatingPoint(knob=math.nan)]
