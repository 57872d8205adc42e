"""The parts of an image network of cells: stem, transitions, cells and head, the same for all methods."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from dynalay.cells import CELLS


@dataclass(frozen=True)
class ImageParts:
    """What an image network of cells is made of.

    Attributes:
        stem: image to features; a 3x3 convolution and batch norm.
        transitions: one for each layer, ReLU, 3x3 convolution and batch norm; the identity where a layer's stride is 0.
        cells: one for each layer.
        head: last state to logits; ReLU, pooling, a linear layer.
    """

    stem: nn.Module
    transitions: list[nn.Module]
    cells: list[nn.Module]
    head: nn.Module

    @torch.no_grad()
    def shapes(self, image_shape: tuple[int, ...]) -> list[tuple[int, ...]]:
        """(channels, height, width) of what the stem gives, and of each layer's state."""
        hidden = self.stem.eval()(torch.zeros(1, *image_shape))
        shapes = [tuple(hidden.shape[1:])]
        for transition in self.transitions:
            hidden = transition.eval()(hidden)
            shapes.append(tuple(hidden.shape[1:]))
        for module in (self.stem, *self.transitions):
            module.train()
        return shapes


def image_parts(
    image_shape: tuple[int, int, int],
    classes: int,
    channels: Sequence[int],
    strides: Sequence[int],
    cell: str,
    pool: str,
) -> ImageParts:
    """The parts of a network with a layer for each of `channels`.

    Args:
        image_shape: (channels, height, width) of the input.
        classes: the number of classes.
        channels: of each layer.
        strides: of each layer's transition; 0 for none, which needs as many channels as the layer below has.
        cell: a name in `dynalay.cells.CELLS`.
        pool: how the head pools, "average" or "maximum".

    Raises:
        ValueError: there are not as many strides as channels, or a layer without transition changes the channels.
    """
    if len(channels) != len(strides):
        raise ValueError(f"channels={channels} and strides={strides} must have one entry per layer")
    below = (channels[0], *channels)
    for number, (received, width, stride) in enumerate(zip(below, channels, strides, strict=False), start=1):
        if stride == 0 and received != width:
            raise ValueError(
                f"channels={channels}, strides={strides}: layer {number} has {width} channels and receives "
                f"{received}, so it needs a transition; give it a stride of 1 or more"
            )
    return ImageParts(
        stem=nn.Sequential(*_convolution(image_shape[0], channels[0])),
        transitions=[
            nn.Sequential(nn.ReLU(), *_convolution(received, width, stride)) if stride else nn.Identity()
            for received, width, stride in zip(below, channels, strides, strict=False)
        ],
        cells=[CELLS[cell](width) for width in channels],
        head=nn.Sequential(nn.ReLU(), *pooled_linear(channels[-1], classes, pool)),
    )


def pooled_linear(channels: int, outputs: int, pool: str = "average") -> nn.Sequential:
    """Pooling over the image and a linear layer: [channels, height, width] to [outputs]."""
    pooling = nn.AdaptiveAvgPool2d(1) if pool == "average" else nn.AdaptiveMaxPool2d(1)
    return nn.Sequential(pooling, nn.Flatten(), nn.Linear(channels, outputs))


def _convolution(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs)]
