"""A method under test: built, trained for a few steps, and asked to classify toy images."""

import math
from collections import Counter
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from benchmark.experiment.kinds import Kind
from dynalay.classifier import AdaptiveClassifier, OperatingPoint, TrainingState
from dynalay.components import Component
from dynalay.meter import Meter

SHAPE, CLASSES = (2, 12, 12), 3
STEPS, BATCH = 60, 32


class Trained(NamedTuple):
    """A model after a few steps in each phase, its operating points, and its loss before and after."""

    model: AdaptiveClassifier
    points: list[OperatingPoint]
    before: float
    after: float


class Method:
    """A kind of method under test, with its default parameters."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind

    def build(self, shape: tuple[int, int, int] = SHAPE, seed: int = 0) -> AdaptiveClassifier:
        """A new model, with weights from `seed`."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.kind.load()(shape, CLASSES)

    @cached_property
    def trained(self) -> Trained:
        """Trained once; a check that changes the model takes a copy."""
        model = self.build()
        before = default_loss(model)
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
        generator = torch.Generator().manual_seed(0)
        model.train()
        for phase in model.phases:
            for step in range(STEPS):
                images, labels = toy(BATCH, seed=100 + step)
                meter = Meter(model.components(), BATCH)
                state = TrainingState(step / STEPS, generator, phase.name)
                loss, _ = model.training_loss(images, labels, meter, state)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        after = default_loss(model)
        batches = [toy(BATCH, seed=seed) for seed in (5, 6, 7)]
        model.eval().settle(batches, batches[:1], generator)
        images, labels = toy(60, seed=3)
        with torch.inference_mode():
            # As the harness does: batches that can be read once.
            points = model.operating_points(zip(images.split(32), labels.split(32), strict=True))
        return Trained(model, points, before, after)


def toy(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Three oriented gratings under noise of random strength: easy samples and hard ones."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % CLASSES
    waves = torch.arange(12) * math.pi / 3
    gratings = torch.stack([waves.sin().expand(12, 12), waves.sin().expand(12, 12).T, torch.zeros(12, 12)])
    strength = 2 * torch.rand(count, 1, 1, 1, generator=generator)
    noise = torch.randn(count, *SHAPE, generator=generator)
    return gratings[labels][:, None] + strength * noise, labels


def classify(model: AdaptiveClassifier, images: Tensor, point: OperatingPoint) -> tuple[Tensor, Meter]:
    """Logits [batch, classes] at an operating point, and the meter that counted."""
    meter = Meter(model.components(), len(images), images.device)
    with torch.inference_mode():
        return model.classify(images, point, meter), meter


def one_by_one(model: AdaptiveClassifier, images: Tensor, point: OperatingPoint) -> Tensor:
    """Logits [batch, classes], every component run on one sample at a time.

    Kernels split products and convolutions differently for batches of different size, which rounds differently. Here
    they never see more than one sample, so whatever still depends on the batch is the method's doing.
    """
    components = {
        name: Component(_RowByRow(component.module), component.input_shapes)
        for name, component in model.components().items()
    }
    with torch.inference_mode():
        return model.classify(images, point, Meter(components, len(images), images.device))


class _RowByRow(nn.Module):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        outputs = [self.module(*row) for row in zip(*(each.split(1) for each in inputs), strict=True)]
        if isinstance(outputs[0], Tensor):
            return torch.cat(outputs)
        return tuple(torch.cat(parts) for parts in zip(*outputs, strict=True))


def few(points: list[OperatingPoint]) -> list[OperatingPoint]:
    """Some points of each policy, spread over them: agents bring hundreds of controls, which are alike."""
    found = []
    for policy in dict.fromkeys(point.policy for point in points):
        alike = [point for point in points if point.policy == policy]
        most = 8 if policy == "own" else 3
        found += [alike[round(step * (len(alike) - 1) / max(1, most - 1))] for step in range(min(most, len(alike)))]
    return list(dict.fromkeys(found))


def default_loss(model: AdaptiveClassifier) -> float:
    """Cross-entropy at the default point."""
    images, labels = toy(96, seed=7)
    model.eval()
    return functional.cross_entropy(classify(model, images, model.default_point)[0], labels).item()


def rows_seen(meter: Meter) -> tuple[Counter[str], list[torch.utils.hooks.RemovableHandle]]:
    """How many rows each component's module is given from now on."""
    seen: Counter[str] = Counter()

    def watch(name: str, module: nn.Module) -> torch.utils.hooks.RemovableHandle:
        return module.register_forward_pre_hook(lambda _, inputs: seen.update({name: len(inputs[0])}))

    return seen, [watch(name, component.module) for name, component in meter.components.items()]


def executed(meter: Meter) -> dict[str, int]:
    """How often each component was executed, over all samples."""
    return dict(zip(meter.components, meter.executions.sum(dim=0).tolist(), strict=True))


class StrictAutocast(TorchFunctionMode):
    """Autocast on a CPU that refuses what it refuses on a GPU."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        refused = function is functional.binary_cross_entropy and torch.is_autocast_enabled("cpu")
        assert not refused, "CUDA's autocast refuses binary_cross_entropy: take it of logits, or outside of autocast"
        return function(*args, **(kwargs or {}))
