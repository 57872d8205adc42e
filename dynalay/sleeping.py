"""A network whose layers sleep until they are evaluated, and one sweep upwards through it.

A stage begins with a transition and holds some layers, whose state is u where they sleep and f(0, u) where they are
evaluated. With every layer asleep, stem, transitions and head still give an answer: the bare pass. From it, one sweep
upwards may evaluate any of the layers; whatever lies below the first of them is not computed again, and whatever lies
above it is computed once.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from dynalay.cells import CELLS
from dynalay.components import Component
from dynalay.meter import Meter
from dynalay.parts import pooled_linear
from dynalay.rows import replaced, take


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

    def forward(self, x: Tensor, key: Tensor) -> Tensor:
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

    def _normalised(self, x: Tensor, number: int) -> Tensor:
        return functional.batch_norm(
            x,
            self.running_mean[number],
            self.running_var[number],
            self.weight.view(self.keys, -1)[number],
            self.bias.view(self.keys, -1)[number],
            self.training,
        )


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

    def forward(self, below: Tensor, key: Tensor) -> Tensor:
        """The input u [rows, outputs, height, width] from what is below and the key of each row (`Sweep`)."""
        hidden: Tensor = self.norm(self.conv(functional.relu(below)), key)
        return hidden


@dataclass(frozen=True)
class BarePass:
    """What the network computes with every layer asleep.

    Attributes:
        inputs: u of each stage, each [batch, channels, height, width].
        logits: the bare answer, [batch, classes].
    """

    inputs: tuple[Tensor, ...]
    logits: Tensor


class SleepingNetwork(nn.Module):
    """A stem, stages of layers that sleep at first, and a head.

    Layers are counted from 0, through all stages.

    Args:
        image_shape: (channels, height, width) of the normalised input.
        classes: the number of classes.
        layers: how many each stage has.
        channels: of each stage.
        strides: of each stage's transition, 1 or more.
        cell: a name in `dynalay.cells.CELLS`.
        pool: how the head pools, "average" or "maximum".

    Attributes:
        stages: the stage of each layer, from 0.
        shapes: (channels, height, width) of the states of each stage.

    Raises:
        ValueError: the stages are not described one for one, or one of them has no layer or no transition.
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
    ) -> None:
        super().__init__()
        if not len(layers) == len(channels) == len(strides) > 0:
            raise ValueError(f"layers={layers}, channels={channels}, strides={strides} must have one entry per stage")
        if min(layers) < 1 or min(strides) < 1:
            raise ValueError(
                f"layers={layers}, strides={strides}: a stage needs a layer and a transition, so 1 or more"
            )
        self.image_shape = image_shape
        self.stages = tuple(stage for stage, count in enumerate(layers) for _ in range(count))
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

    def components(self) -> dict[str, Component]:
        """Stem, the transition of each stage, the cell of each layer, and the head."""
        components = {"stem": Component(self.stem, (self.image_shape,))}
        below: tuple[int, ...] = self._stem_shape
        for stage, (transition, shape) in enumerate(zip(self.transitions, self.shapes, strict=True), start=1):
            components[f"stage{stage}.transition"] = Component(transition, (below, ()))
            below = shape
        for layer, (cell, stage) in enumerate(zip(self.cells, self.stages, strict=True), start=1):
            components[f"layer{layer}.cell"] = Component(cell, (self.shapes[stage],) * 2)
        return components | {"head": Component(self.head, (below,))}

    def bare(self, images: Tensor, meter: Meter) -> BarePass:
        """The least compute that gives an answer: stem, transitions and head, every layer asleep."""
        hidden = meter("stem", images)
        asleep = torch.zeros(len(images), dtype=torch.int64, device=images.device)
        inputs = []
        for stage in range(1, len(self.transitions) + 1):
            hidden = meter(f"stage{stage}.transition", hidden, asleep)
            inputs.append(hidden)
        return BarePass(tuple(inputs), meter("head", hidden))


class Sweep:
    """One sweep upwards through a batch; every sample may evaluate layers of its own.

    For each layer in turn: `arrive`, look if need be, `evaluate` it for some rows; at the end, `answer`.

    A row's key at the transition of stage s says which stages below have a layer awake: the sum of 2^t over them, so
    that stage s has 2^s keys and 0 is that of the bare pass.

    Args:
        network: whose layers to evaluate.
        meter: what executes.
        images: [batch, channels, height, width]; None where `bare` is known.
        bare: what is already known of this batch; without it, transitions run for all rows.

    Attributes:
        hidden: u of the present layer, [batch, channels, height, width]; after the last `evaluate`, its state.
        evaluated: which layers each sample has evaluated, bool [batch, layers].
        logits: [batch, classes]; current where `stale`, bool [batch], is false.
        unseen: where `hidden` is neither the bare pass's nor as `look` last saw it, bool [batch].
    """

    def __init__(
        self, network: SleepingNetwork, meter: Meter, images: Tensor | None = None, bare: BarePass | None = None
    ) -> None:
        self.network = network
        self.meter = meter
        self.bare = bare
        if bare is not None:
            self.hidden = bare.inputs[0]
        else:
            assert images is not None, "a sweep needs images or their bare pass"
            self.hidden = meter("stem", images)
        batch, device = len(self.hidden), self.hidden.device
        self.evaluated = torch.zeros(batch, len(network.stages), dtype=torch.bool, device=device)
        self.stale = torch.full((batch,), bare is None, device=device)
        self.unseen = self.stale.clone()
        self.logits = None if bare is None else bare.logits

    def twice(self, meter: Meter) -> "Sweep":
        """A sweep that stands where this one does, over this batch and then over it once more.

        Args:
            meter: of the doubled batch.
        """

        def double(tensor: Tensor) -> Tensor:
            return torch.cat([tensor, tensor])

        assert self.bare is not None, "only a sweep that knows its bare pass can be doubled"
        assert self.logits is not None
        bare = BarePass(tuple(map(double, self.bare.inputs)), double(self.bare.logits))
        other = Sweep(self.network, meter, bare=bare)
        other.hidden, other.evaluated, other.logits = map(double, (self.hidden, self.evaluated, self.logits))
        other.stale, other.unseen = double(self.stale), double(self.unseen)
        return other

    def arrive(self, layer: int) -> None:
        """Bring every row to a layer: through the transition, where the layer is the first of its stage."""
        stage = self.network.stages[layer]
        if stage == (self.network.stages[layer - 1] if layer else -1):
            return
        awake = self.evaluated.any(dim=1)
        rows = torch.arange(len(awake), device=awake.device) if self.bare is None else awake.nonzero().squeeze(1)
        below = take(self.hidden, rows)
        if self.bare is not None:
            self.hidden = self.bare.inputs[stage]
        if len(rows):
            part = self.meter(f"stage{stage + 1}.transition", below, self._key(stage)[rows], rows=rows)
            self.hidden = replaced(self.hidden, rows, part)
            self.unseen[rows] = True

    def evaluate(self, layer: int, rows: Tensor) -> None:
        """Wake `layer` for `rows`, int64: z = f(0, u). The other rows pass u on."""
        if not len(rows):
            return
        u = take(self.hidden, rows)
        state = self.meter(f"layer{layer + 1}.cell", torch.zeros_like(u), u, rows=rows)
        self.hidden = replaced(self.hidden, rows, state)
        self.evaluated[rows, layer] = True
        self.stale[rows] = True
        self.unseen[rows] = True

    def answer(self) -> Tensor:
        """The answers from where the rows stand in the last stage, [batch, classes]; only new ones are computed."""
        rows = self.stale.nonzero().squeeze(1)
        if len(rows):
            part = self.meter("head", take(self.hidden, rows), rows=rows)
            self.logits = part if self.logits is None else replaced(self.logits, rows, part)
            self.stale = torch.zeros_like(self.stale)
        assert self.logits is not None
        return self.logits

    def follow(self, paths: Tensor) -> Tensor:
        """Evaluate the layers that `paths`, bool [batch, layers], names for each row; the answers [batch, classes]."""
        for layer in range(len(self.network.stages)):
            self.arrive(layer)
            self.evaluate(layer, paths[:, layer].nonzero().squeeze(1))
        return self.answer()

    def follow_all(self, paths: Sequence[tuple[int, ...]], layer: int = 0) -> dict[tuple[int, ...], Tensor]:
        """The answers [batch, classes] to each of several paths; what they share from the bottom up is computed once.

        The meter then counts what was run, which no single sample would need.

        Args:
            paths: distinct; the layers of each, counted from 1, in order.
            layer: where the sweep stands; below it, all paths agree.
        """
        if layer == len(self.network.stages):
            return {path: self.answer() for path in paths}
        self.arrive(layer)
        asleep = [path for path in paths if layer + 1 not in path]
        awake = [path for path in paths if layer + 1 in path]
        found = self._copy().follow_all(asleep, layer + 1) if asleep else {}
        if awake:
            self.evaluate(layer, torch.arange(len(self.hidden), device=self.hidden.device))
            found |= self.follow_all(awake, layer + 1)
        return found

    def _copy(self) -> "Sweep":
        other = copy.copy(self)
        other.evaluated, other.stale, other.unseen = self.evaluated.clone(), self.stale.clone(), self.unseen.clone()
        return other

    def _key(self, stage: int) -> Tensor:
        """Which stages below `stage` have a layer awake: int64 [batch], one bit a stage."""
        key = torch.zeros(len(self.evaluated), dtype=torch.int64, device=self.evaluated.device)
        for lower in range(stage):
            layers = [layer for layer, of in enumerate(self.network.stages) if of == lower]
            key = key + (self.evaluated[:, layers].any(dim=1).long() << lower)
        return key
