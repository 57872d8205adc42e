"""Any timm ResNet as a network of FPI layers with an agent: each stage's later blocks become the cell of one FPI layer.

    python -m examples.timm_stages

The first block of a stage changes the shape, so it is the layer's transition; the rest keep it, so they can be
iterated: f(z, u) = blocks(u + gain z).  From z = 0 that is blocks(u): the direct pass is the network as timm made it,
with whatever weights it has, and re-evaluation is what it learns on top.

Two things a model must fulfil.  Its norms may not use the batch's statistics, since these differ from iteration to
iteration: here GroupNorm.  And no module may change its input in place: the blocks' in-place ReLUs act on their own.
"""

import argparse
from typing import Any

import timm
import torch
from sklearn.datasets import load_digits
from timm.layers import GroupNorm
from timm.models.resnet import ResNet
from torch import Tensor, nn
from torch.nn import functional

from dynalay import FPILayer, FPINetwork, IntrospectiveClassifier, Meter, OperatingPoint, TrainingState


class StageCell(nn.Module):
    """f(z, u) = blocks(u + gain z), with a gain for each channel that starts small, so that f contracts.

    Args:
        blocks: of stride 1; they keep the shape [rows, channels, height, width].
        channels: of state and input.
    """

    def __init__(self, blocks: nn.Module, channels: int) -> None:
        super().__init__()
        self.blocks = blocks
        self.gain = nn.Parameter(torch.full((channels, 1, 1), 0.1))

    def forward(self, z: Tensor, u: Tensor) -> Tensor:
        """The next state from state `z` and input `u`, all of one shape."""
        return self.blocks(u + self.gain * z)


def introspective(model: ResNet, input_shape: tuple[int, int, int], **parameters: float) -> IntrospectiveClassifier:
    """`model` with its stages as FPI layers; `parameters` are those of `IntrospectiveClassifier`.

    Raises:
        ValueError: a stage has but one block, so that nothing is left to iterate.
    """
    stages: list[Any] = [model.layer1, model.layer2, model.layer3, model.layer4]
    if min(len(stage) for stage in stages) < 2:
        raise ValueError(f"every stage needs two blocks or more, not {[len(stage) for stage in stages]}")
    layers = [
        FPILayer(
            StageCell(stage[1:], stage[-1].bn2.num_channels),
            gradient="phantom",
            phantom_steps=1,
            phantom_damping=1.0,
            relative_tolerance=1e-2,
            max_iterations=4,
        )
        for stage in stages
    ]
    network = FPINetwork(
        stem=nn.Sequential(model.conv1, model.bn1, model.act1, model.maxpool),
        transitions=[stage[0] for stage in stages],
        layers=layers,
        head=nn.Sequential(model.global_pool, model.fc),
        input_shape=input_shape,
    )
    return IntrospectiveClassifier(network, model.num_classes, rounds=2, **parameters)  # type: ignore[arg-type]


def small_resnet() -> ResNet:
    """A timm ResNet-18 for images of 8x8: narrow, with GroupNorm, and a stem that keeps the resolution."""
    model: Any = timm.create_model(
        "resnet18",
        in_chans=1,
        num_classes=10,
        channels=(16, 16, 32, 32),
        norm_layer=lambda channels, **options: GroupNorm(channels, num_groups=4, **options),
    )
    model.conv1 = nn.Conv2d(1, 64, 3, padding=1, bias=False)
    model.maxpool = nn.Identity()
    return model


def digits() -> tuple[Tensor, Tensor]:
    """Scikit-learn's digits: float [1797, 1, 8, 8] in [0, 1], int64 [1797]."""
    data = load_digits()
    return torch.tensor(data.images, dtype=torch.float32)[:, None] / 16, torch.tensor(data.target)


def train(model: IntrospectiveClassifier, images: Tensor, labels: Tensor, steps: int, batch: int = 64) -> None:
    """All phases of training, one learning rate throughout."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    generator = torch.Generator().manual_seed(0)
    components = model.components()
    ends = [*(phase.start for phase in model.phases[1:]), 1.0]
    model.train()
    for step in range(steps):
        progress = step / steps
        phase, end = next((phase, end) for phase, end in zip(model.phases, ends, strict=True) if progress < end)
        state = TrainingState((progress - phase.start) / (end - phase.start), generator, phase.name)
        rows = torch.randint(len(images), (batch,), generator=generator)
        loss, _ = model.training_loss(images[rows], labels[rows], Meter(components, batch), state)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()


@torch.inference_mode()
def report(model: IntrospectiveClassifier, images: Tensor, labels: Tensor) -> None:
    """Accuracy, loss and compute at some prices of compute, and without re-evaluation."""
    for point in (OperatingPoint(0, "never"), *(OperatingPoint(price) for price in (0.3, 0.03, 0.003))):
        meter = Meter(model.components(), len(images))
        logits = model.classify(images, point, meter)
        accuracy = (logits.argmax(dim=1) == labels).float().mean().item()
        loss = functional.cross_entropy(logits, labels).item()
        macs = meter.macs(model.component_macs()).double().mean().item()
        print(f"{point.name:10}  accuracy {100 * accuracy:5.1f}%  loss {loss:.3f}  {macs / 1e6:.2f} M MACs")


def main() -> None:
    """Train on digits and print what compute buys."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=150)
    steps = parser.parse_args().steps
    torch.manual_seed(0)
    images, labels = digits()
    model = introspective(small_resnet(), (1, 8, 8))
    train(model, images[:1400], labels[:1400], steps)
    report(model, images[1400:], labels[1400:])


if __name__ == "__main__":
    main()
