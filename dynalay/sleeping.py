"""A network of FPI layers that sleep until they are evaluated.

A stage begins with a transition and holds some layers. A layer that sleeps passes its input u on. Evaluated, it
iterates its cell from zero, z <- f(z, u); evaluated again, it goes on from where it stands. With every layer asleep,
stem, transitions and head still give an answer: the bare pass. `dynalay.sweep` goes upwards from there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn import functional

from dynalay.cells import CELLS
from dynalay.components import Component
from dynalay.meter import Meter
from dynalay.parts import pooled_linear
from dynalay.rows import replaced, take

Maps = Float[Tensor, "rows channels height width"]
#: Of integers; in the dtype of the images where costs are counted.
Keys = Shaped[Tensor, "rows"]
#: Added to variances in batch normalisation, as in `nn.BatchNorm2d`.
EPSILON = 1e-5


class KeyedNorm(nn.Module):
    """Batch normalisation with its own statistics, gains and biases for each key (as slimmable networks have it).

    What a transition receives is distributed differently when layers below are asleep than when they are awake, and
    one set of statistics fits neither (Yu et al. 2019, arXiv 1812.08928, section 3.3).

    Args:
        channels: of the input.
        keys: how many sets there are.
    """

    def __init__(self, channels: int, keys: int) -> None:
        super().__init__()
        self.keys = keys
        # One-dimensional, like every gain and bias, so that weight decay leaves them alone.
        self.weight = nn.Parameter(torch.ones(keys * channels))
        self.bias = nn.Parameter(torch.zeros(keys * channels))
        self.running_mean: Tensor
        self.running_var: Tensor
        self.register_buffer("running_mean", torch.zeros(keys, channels))
        self.register_buffer("running_var", torch.ones(keys, channels))

    def forward(self, x: Maps, key: Keys) -> Maps:
        """Each row normalised by the set that its key names; in training, with the statistics of that key's rows.

        Args:
            x: [rows, channels, height, width].
            key: integers [rows], below `keys`.
        """
        groups = [(number, (key == number).nonzero().squeeze(1)) for number in range(self.keys)]
        groups = [(number, rows) for number, rows in groups if len(rows)]
        if len(groups) == 1:
            return self._normalised(x, groups[0][0])
        whole = x.clone()
        for number, rows in groups:
            whole = replaced(whole, rows, self._normalised(take(x, rows), number))
        return whole

    def for_inference(self) -> nn.Module:
        """The same with each key's statistics, gains and biases folded into one factor and one summand a channel."""
        factor = self.weight.view(self.keys, -1) / (self.running_var + EPSILON).sqrt()
        return _KeyedAffine(factor, self.bias.view(self.keys, -1) - self.running_mean * factor)

    def _normalised(self, x: Maps, number: int) -> Maps:
        return functional.batch_norm(
            x,
            self.running_mean[number],
            self.running_var[number],
            self.weight.view(self.keys, -1)[number],
            self.bias.view(self.keys, -1)[number],
            self.training,
            eps=EPSILON,
        )


class _KeyedAffine(nn.Module):
    """x * factor + summand, both [keys, channels]; all keys in one operation, however many a batch has."""

    def __init__(self, factor: Tensor, summand: Tensor) -> None:
        super().__init__()
        self.factor: Tensor
        self.summand: Tensor
        self.register_buffer("factor", factor[..., None, None])
        self.register_buffer("summand", summand[..., None, None])

    def forward(self, x: Maps, key: Keys) -> Maps:
        number = key.long()
        return torch.addcmul(self.summand[number], x, self.factor[number])


class Transition(nn.Module):
    """KeyedNorm(conv(ReLU(h))): from the stage below, [channels, height, width], to the input u of a stage.

    Args:
        inputs, outputs: channels.
        stride: of the 3x3 convolution.
        keys: of the norm.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, keys: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm = KeyedNorm(outputs, keys)

    def forward(self, below: Float[Tensor, "rows inputs _ _"], key: Keys) -> Float[Tensor, "rows outputs height width"]:
        """The input u [rows, outputs, height, width] from what is below and the key of each row (`Sweep`)."""
        hidden: Float[Tensor, "rows outputs height width"] = self.norm(self.conv(functional.relu(below)), key)
        return hidden


class Look(nn.Module):
    """What an agent sees of a state: ReLU, then the mean over the image, and its maximum if the head pools so.

    Args:
        pool: how the head pools, "average" or "maximum".

    Attributes:
        poolings: how many numbers it gives for each channel.
    """

    def __init__(self, pool: str) -> None:
        super().__init__()
        self.poolings = 1 if pool == "average" else 2

    def forward(self, state: Maps) -> Float[Tensor, "rows numbers"]:
        """[rows, channels, height, width] to [rows, poolings * channels]."""
        active = functional.relu(state)
        means = functional.adaptive_avg_pool2d(active, 1).flatten(1)
        if self.poolings == 1:
            return means
        return torch.cat([means, functional.adaptive_max_pool2d(active, 1).flatten(1)], dim=1)


@dataclass(frozen=True)
class BarePass:
    """What the network computes with every layer asleep.

    Attributes:
        inputs: u of each stage, each [batch, channels, height, width].
        logits: the bare answer, [batch, classes].
    """

    inputs: tuple[Float[Tensor, "batch _ _ _"], ...]
    logits: Float[Tensor, "batch classes"]


class SleepingNetwork(nn.Module):
    """A stem, stages of FPI layers that sleep at first, and a head.

    Layers are counted from 0, through all stages.

    Args:
        image_shape: (channels, height, width) of the normalised input.
        classes: the number of classes.
        layers: how many each stage has.
        channels: of each stage.
        strides: of each stage's transition, 1 or more.
        cell: a name in `dynalay.cells.CELLS`.
        pool: how the head pools, "average" or "maximum".
        evaluations: how often each layer may be evaluated in one sweep.
        iterations: of the cell, in one evaluation.
        looks: whether an agent looks at states.

    Attributes:
        stages: the stage of each layer, from 0.
        last: the first layer of the last stage.
        shapes: (channels, height, width) of the states of each stage.
        seen: how many numbers each stage's look gives; empty without looks.

    Raises:
        ValueError: the stages are not described one for one, one of them has no layer or no transition, or a layer can
            never be evaluated.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        classes: int,
        layers: Sequence[int],
        channels: Sequence[int],
        strides: Sequence[int],
        cell: str,
        pool: str,
        evaluations: int = 1,
        iterations: int = 1,
        looks: bool = True,
    ) -> None:
        super().__init__()
        if not len(layers) == len(channels) == len(strides) > 0:
            raise ValueError(f"layers={layers}, channels={channels}, strides={strides} must have one entry per stage")
        if min(layers) < 1 or min(strides) < 1:
            raise ValueError(
                f"layers={layers}, strides={strides}: a stage needs a layer and a transition, so 1 or more"
            )
        if min(evaluations, iterations) < 1:
            raise ValueError(f"evaluations={evaluations}, iterations={iterations} must be 1 or more")
        self.image_shape = image_shape
        self.evaluations, self.iterations = evaluations, iterations
        self.stages = tuple(stage for stage, count in enumerate(layers) for _ in range(count))
        self.last = self.stages.index(self.stages[-1])
        self.stem = nn.Sequential(
            nn.Conv2d(image_shape[0], channels[0], 3, padding=1, bias=False), nn.BatchNorm2d(channels[0])
        )
        below = (channels[0], *channels)
        self.transitions = nn.ModuleList(
            Transition(*wiring, keys=2**stage)
            for stage, wiring in enumerate(zip(below, channels, strides, strict=False))
        )
        self.cells = nn.ModuleList(CELLS[cell](channels[stage]) for stage in self.stages)
        self.head = nn.Sequential(nn.ReLU(), *pooled_linear(channels[-1], classes, pool))
        _, height, width = image_shape
        self._stem_shape = (channels[0], height, width)
        self.shapes: list[tuple[int, int, int]] = []
        for width_of_stage, stride in zip(channels, strides, strict=True):
            height, width = -(-height // stride), -(-width // stride)
            self.shapes.append((width_of_stage, height, width))
        self.looks = nn.ModuleList(Look(pool) for _ in channels if looks)
        self.seen = [shape[0] * look.poolings for shape, look in zip(self.shapes, self._looks(), strict=False)]

    def components(self) -> dict[str, Component]:
        """Stem, the transition of each stage, the cell of each layer, the head, and a look at each stage."""
        components = {"stem": Component(self.stem, (self.image_shape,))}
        below: tuple[int, ...] = self._stem_shape
        for stage, (transition, shape) in enumerate(zip(self.transitions, self.shapes, strict=True), start=1):
            components[f"stage{stage}.transition"] = Component(transition, (below, ()))
            below = shape
        for layer, (cell, stage) in enumerate(zip(self.cells, self.stages, strict=True), start=1):
            components[f"layer{layer}.cell"] = Component(cell, (self.shapes[stage],) * 2)
        looks = {
            f"stage{stage}.look": Component(look, (shape,))
            for stage, (look, shape) in enumerate(zip(self.looks, self.shapes, strict=False), start=1)
        }
        return components | {"head": Component(self.head, (below,))} | looks

    def _looks(self) -> list["Look"]:
        return [look for look in self.looks if isinstance(look, Look)]

    def bare(self, images: Float[Tensor, "batch channels height width"], meter: Meter) -> BarePass:
        """The least compute that gives an answer: stem, transitions and head, every layer asleep."""
        hidden = meter("stem", images)
        asleep = torch.zeros(len(images), dtype=torch.int64, device=images.device)
        inputs = []
        for stage in range(1, len(self.transitions) + 1):
            hidden = meter(f"stage{stage}.transition", hidden, asleep)
            inputs.append(hidden)
        return BarePass(tuple(inputs), meter("head", hidden))
