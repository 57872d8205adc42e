"""ConvNet-AIG: each block's gate is sampled by Gumbel noise in training, and held to a target rate.

Veit & Belongie, "Convolutional Networks with Adaptive Inference Graphs", ECCV 2018, arXiv 1711.11503.

- Gate (section 3.2): the block's input is averaged over the image; a hidden layer of 16 units with batch norm and ReLU
  gives two scores, of skipping and of executing.
- Gumbel sampling (section 3.3): forwards the gate is the argmax of scores plus Gumbel noise; backwards it is their
  softmax (temperature 1). At inference there is no noise.
- Target rate (eq. 5): ``L = CE + weight * mean_l (mean_batch(gate_l) - target)^2``.

As in the authors' code: scores start at biases (0.1, 2), so that gates are open about 85% of the time, with weights
of deviation 0.001; target 0.7 and weight 2, their values for CIFAR-10. The first block of a stage is gated too, its
shortcut always runs.
"""

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from baselines.backbone import Backbone
from baselines.gated import GatedResNet, Gates, straight_through
from dynalay.classifier import TrainingState
from dynalay.components import Component
from dynalay.meter import Meter

#: Hidden units of a gate.
HIDDEN = 16


class ConvNetAIG(GatedResNet):
    """A ResNet whose blocks are gated from their own input.

    Args:
        image_shape: (channels, height, width) of the normalised input.
        classes: the number of classes.
        depth: of the backbone, 6n + 2.
        channels: of the backbone's three stages.
        strides: of the backbone's three stages.
        pool: how the head pools, "average" or "maximum".
        target: the share of samples for which each block should be executed; the budget that training aims at.
        target_weight: of the target rate in the loss.
        points: thresholds of the sweep.
    """

    search_space: ClassVar = {"target": (0.4, 0.9, "linear"), "target_weight": (0.5, 8.0, "log")}

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        classes: int,
        *,
        depth: int = 20,
        channels: tuple[int, int, int] = (16, 32, 64),
        strides: tuple[int, int, int] = (1, 2, 2),
        pool: Literal["average", "maximum"] = "average",
        target: float = 0.7,
        target_weight: float = 2.0,
        points: int = 10,
    ) -> None:
        super().__init__(Backbone(image_shape, classes, depth, channels, strides, pool), image_shape, classes, points)
        self.target = target
        self.target_weight = target_weight
        self.scores = nn.ModuleList(_gate(shape[0]) for shape in self.input_shapes)

    def components(self) -> dict[str, Component]:
        gates = {f"block{k + 1}.gate": Component(gate, (self.input_shapes[k],)) for k, gate in enumerate(self.scores)}
        return super().components() | gates

    def gates(self, images: Tensor, meter: Meter) -> Gates:
        return lambda k, features: meter(f"block{k + 1}.gate", features).float().softmax(dim=1)[:, 1]

    def training_loss(
        self, images: Tensor, labels: Tensor, meter: Meter, state: TrainingState
    ) -> tuple[Tensor, dict[str, Tensor]]:
        features = meter("stem", images)
        gates = []
        for k in range(self.blocks):
            gates.append(sampled_gate(meter(f"block{k + 1}.gate", features).float(), state.generator))
            features = self.train_block(k, features, gates[-1], meter)
        classification = functional.cross_entropy(meter("head", features), labels)
        opened = torch.stack(gates)
        logs = {"classification_loss": classification.detach(), "executed": opened.detach().mean()}
        return classification + self.target_weight * rate_loss(opened, self.target), logs


def _gate(channels: int) -> nn.Sequential:
    last = nn.Linear(HIDDEN, 2)
    nn.init.normal_(last.weight, std=0.001)
    last.bias.data.copy_(torch.tensor([0.1, 2.0]))
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, HIDDEN), nn.BatchNorm1d(HIDDEN), nn.ReLU(), last
    )


def sampled_gate(scores: Tensor, generator: torch.Generator) -> Tensor:
    """1 where the second score wins under Gumbel noise, else 0, float [batch]; with the gradient of their softmax.

    Args:
        scores: of skipping and of executing, float [batch, 2].
        generator: where the noise is drawn from.
    """
    exponential = torch.empty_like(scores).exponential_(generator=generator)
    perturbed = scores - exponential.clamp_min(torch.finfo(scores.dtype).tiny).log()
    hard = (perturbed[:, 1] > perturbed[:, 0]).float()
    return straight_through(perturbed.softmax(dim=1)[:, 1], hard)


def rate_loss(gates: Tensor, target: float) -> Tensor:
    """The mean over blocks of (share of open gates - target)^2; `gates` is [blocks, batch]."""
    return (gates.mean(dim=1) - target).square().mean()
