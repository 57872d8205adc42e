"""MSDNet: features at several scales from the first layer on, densely connected, with classifiers along the way.

Huang, Chen, Li, Wu, van der Maaten & Weinberger, "Multi-Scale Dense Networks for Resource Efficient Image
Classification", ICLR 2018, arXiv 1703.09844.

- Every layer has features at up to three scales. At scale s it adds to what is there, by concatenation, the output of a
  3x3 convolution of scale s and of a strided one of the next finer scale, each after a 1x1 bottleneck (section 4).
- Network reduction: when a third of the layers is done, the finest scale is dropped, and the next one after two thirds;
  there a 1x1 convolution halves the channels.
- Classifiers see the coarsest scale: two strided 3x3 convolutions, pooling, a linear layer. Training minimises the sum
  of their cross-entropies.
- Budgeted batch classification (section 3): a sample leaves at classifier k if its highest probability is at least T_k.
  With q the share of samples that pass a classifier by, shares z q^(k-1) leave at the classifiers (z a norm), and the
  thresholds T_k are those that have them leave on the validation split. q is swept.

As in the authors' code for CIFAR: growth 6 times (1, 2, 4) at the three scales, bottlenecks of (1, 2, 4) times the
output. The sizes (`layers`, `exits`, `classifier_channels`) are ours, so that the network costs what this suite's
ResNets cost. Its scales are what the paper is about, so of a dataset's ground it takes the pooling of the classifiers
alone.
"""

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from baselines.exits import EarlyExitNetwork, State
from dynalay.classifier import OperatingPoint, TrainingState
from dynalay.components import Component
from dynalay.meter import Meter
from dynalay.parts import pooled_linear

#: Channels grow by so many times `growth` at each scale, and bottlenecks are so many times as wide as what they feed.
FACTORS = (1, 2, 4)
SCALES = len(FACTORS)

Channels = tuple[int, ...]


class MSDNet(EarlyExitNetwork):
    """A multi-scale dense network. An operating point's knob is the share of samples that pass each classifier by.

    Args:
        image_shape: (channels, height, width) of the normalised input.
        classes: the number of classes.
        first_channels: of the finest scale in the first layer; the coarser ones have 2 and 4 times as many.
        growth: channels that a layer adds at the finest scale.
        layers: how many, over all segments.
        exits: how many classifiers, after evenly many layers each.
        classifier_channels: of a classifier's convolutions.
        pool: how classifiers pool, "average" or "maximum".
        points: how many values of the knob the sweep has.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        classes: int,
        *,
        first_channels: int = 16,
        growth: int = 6,
        layers: int = 10,
        exits: int = 5,
        classifier_channels: int = 64,
        pool: Literal["average", "maximum"] = "average",
        points: int = 12,
    ) -> None:
        if layers < exits or exits < 2:
            raise ValueError(f"layers={layers}, exits={exits}: take two exits or more, each after a layer or more")
        super().__init__(image_shape, classes, exits)
        self.points = points
        lasts = [round(layers * n / exits) for n in range(exits + 1)]
        channels: Channels = tuple(first_channels * factor for factor in FACTORS)
        sizes = [(math.ceil(image_shape[1] / 2**s), math.ceil(image_shape[2] / 2**s)) for s in range(SCALES)]
        self._starts: list[tuple[tuple[int, ...], ...]] = [(image_shape,)]
        segments, classifiers = [], []
        for first, last in itertools.pairwise(lasts):
            parts: list[nn.Module] = [] if first else [_FirstLayer(image_shape[0], channels)]
            for layer in range(first, last):
                dropped = _scales(layer - 1, layers) - _scales(layer, layers) if layer else 0
                step = _Layer(channels, growth, first_scale=SCALES - _scales(layer, layers), dropped=dropped)
                channels = step.channels
                parts.append(step)
                if dropped:
                    reduce = _Reduction(channels)
                    channels = reduce.channels
                    parts.append(reduce)
            segments.append(_Chain(parts))
            scales = SCALES - len(channels)
            self._starts.append(tuple((c, *size) for c, size in zip(channels, sizes[scales:], strict=True)))
            classifiers.append(_classifier(channels[-1], sizes[-1], classifier_channels, classes, pool))
        self.segments = nn.ModuleList(segments)
        self.classifiers = nn.ModuleList(classifiers)

    def components(self) -> dict[str, Component]:
        components = {}
        for n, (segment, classifier) in enumerate(zip(self.segments, self.classifiers, strict=True), start=1):
            components[f"segment{n}"] = Component(segment, self._starts[n - 1])
            components[f"exit{n}"] = Component(classifier, self._starts[n][-1:])
        return components

    def run_exit(self, n: int, state: State, memory: State, rows: Tensor, meter: Meter) -> tuple[Tensor, State]:
        return meter(f"exit{n}", state[-1], rows=rows), ()

    def training_loss(
        self, images: Tensor, labels: Tensor, meter: Meter, state: TrainingState
    ) -> tuple[Tensor, dict[str, Tensor]]:
        losses = [functional.cross_entropy(logits.float(), labels) for logits in self.all_exits(images, meter)]
        logs = {f"exit{n}_loss": loss.detach() for n, loss in enumerate(losses, start=1)}
        return torch.stack(losses).sum(), logs

    def operating_points(self, validation: Iterable[tuple[Tensor, Tensor]]) -> list[OperatingPoint]:
        """A grid of q from 0, where everybody leaves at once, and the whole network with no early classifier run."""
        confidences = self.validated(validation)
        # Even in q / (1 + q): half of the points send most samples out early, half of them late.
        grid = torch.linspace(0, 1, self.points + 1)[:-1]
        points = []
        for share in (grid / (1 - grid)).tolist():
            thresholds = solve_thresholds(confidences, exit_shares(share, self.exits))
            points.append(OperatingPoint(float(f"{share:.4g}"), setting=tuple(thresholds)))
        return [*points, self.default_point]

    @property
    def default_point(self) -> OperatingPoint:
        """Nobody leaves early."""
        return OperatingPoint(math.inf, setting=(None,) * (self.exits - 1))


def exit_shares(q: float, exits: int) -> list[float]:
    """The share of samples that are to leave at each of `exits` classifiers: z q^(k-1), which sum to 1."""
    shares = [q**k for k in range(exits)]
    return [share / sum(shares) for share in shares]


def solve_thresholds(confidences: Tensor, shares: Sequence[float]) -> list[float]:
    """For each early classifier the threshold at which its share of all samples leaves there.

    Args:
        confidences: on the validation split, float [samples, exits].
        shares: of the samples that are to leave at each classifier, the last included.
    """
    samples, exits = confidences.shape
    remaining = torch.ones(samples, dtype=torch.bool)
    thresholds = []
    for k in range(exits - 1):
        there = confidences[remaining, k].sort(descending=True).values
        leaving = min(round(samples * shares[k]), len(there))
        thresholds.append(float(there[leaving - 1]) if leaving else math.inf)
        remaining &= confidences[:, k] < thresholds[-1]
    return thresholds


def _scales(layer: int, layers: int) -> int:
    """How many scales a layer (from 0) puts out: all in the first third, one fewer in each of the other two."""
    return SCALES - layer * SCALES // layers


class _Chain(nn.Module):
    """Layers one after the other; tuples of scales, the finest first, in between."""

    def __init__(self, parts: Sequence[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, *scales: Tensor) -> State:
        """Each scale [rows, channels, height, width]; the first segment's input is the image."""
        for part in self.parts:
            scales = part(*scales)
        return scales


class _FirstLayer(nn.Module):
    """The image at every scale: a convolution, and then a strided one from scale to scale."""

    def __init__(self, inputs: int, channels: Channels) -> None:
        super().__init__()
        below = (inputs, *channels)
        self.convolutions = nn.ModuleList(
            nn.Sequential(*_convolution(below[s], channels[s], stride=1 if s == 0 else 2)) for s in range(SCALES)
        )

    def forward(self, image: Tensor) -> State:
        scales = []
        for convolution in self.convolutions:
            image = convolution(image)
            scales.append(image)
        return tuple(scales)


class _Layer(nn.Module):
    """One dense layer.

    Args:
        channels: of each scale that it receives.
        growth: channels that it adds at the finest of all scales.
        first_scale: the finest scale that it puts out.
        dropped: how many of the scales that it receives it does not put out.
    """

    def __init__(self, channels: Channels, growth: int, first_scale: int, dropped: int) -> None:
        super().__init__()
        self.dropped = dropped
        self.regular, self.strided = nn.ModuleList(), nn.ModuleList()
        put_out = []
        for place in range(dropped, len(channels)):
            scale = first_scale + place - dropped
            added = growth * FACTORS[scale]
            halves = added // 2 if place else added  # half of what is added comes from the finer scale, if there is one
            self.regular.append(_bottleneck(channels[place], halves, FACTORS[scale]))
            if place:
                self.strided.append(_bottleneck(channels[place - 1], added - halves, FACTORS[scale - 1], stride=2))
            put_out.append(channels[place] + added)
        self.channels: Channels = tuple(put_out)

    def forward(self, *scales: Tensor) -> State:
        strided = iter(self.strided)
        output = []
        for place, regular in zip(range(self.dropped, len(scales)), self.regular, strict=True):
            parts = [scales[place]]
            if place:
                parts.append(next(strided)(scales[place - 1]))
            output.append(torch.cat([*parts, regular(scales[place])], dim=1))
        return tuple(output)


class _Reduction(nn.Module):
    """A 1x1 convolution at each scale that halves its channels."""

    def __init__(self, channels: Channels) -> None:
        super().__init__()
        self.channels: Channels = tuple(width // 2 for width in channels)
        self.convolutions = nn.ModuleList(
            nn.Sequential(*_convolution(width, half, kernel=1))
            for width, half in zip(channels, self.channels, strict=True)
        )

    def forward(self, *scales: Tensor) -> State:
        return tuple(convolution(scale) for convolution, scale in zip(self.convolutions, scales, strict=True))


def _convolution(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, kind: type[nn.Conv2d] = nn.Conv2d
) -> list[nn.Module]:
    return [
        kind(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    ]


def _bottleneck(inputs: int, outputs: int, factor: int, stride: int = 1) -> nn.Sequential:
    inner = min(inputs, factor * outputs)
    return nn.Sequential(*_convolution(inputs, inner, kernel=1), *_convolution(inner, outputs, stride=stride))


class PixelConv2d(nn.Conv2d):
    """A convolution over images of one pixel, in the precision of its weights.

    On CPUs, the gradient that oneDNN gives for a 3x3 kernel over one pixel is unset memory in bfloat16, and so often
    NaN (PyTorch 2.14).
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's own name for it
        """[rows, inputs, 1, 1] to [rows, outputs, 1, 1]."""
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(input.to(self.weight.dtype))


def _classifier(inputs: int, size: tuple[int, int], channels: int, classes: int, pool: str) -> nn.Sequential:
    leaves_a_pixel = max(size) <= 2
    return nn.Sequential(
        *_convolution(inputs, channels, stride=2),
        *_convolution(channels, channels, stride=2, kind=PixelConv2d if leaves_a_pixel else nn.Conv2d),
        *pooled_linear(channels, classes, pool),
    )
