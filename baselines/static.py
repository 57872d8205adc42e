"""Static: untied stacks of DynaLay's own cells, each evaluated once. What DynaLay has to beat.

DynaLay iterates one cell where this network has several, one after the other, on the same ground: the same stem,
transitions, cells and head. Networks of several depths are the frontier of what the architecture reaches with no
adaptive compute at all, so whatever DynaLay has above it is owed to its choosing or its iterating.
"""

from itertools import chain
from typing import Literal

import torch
from torch import Tensor, nn

from baselines.fixed import FixedNetwork
from dynalay.parts import image_parts


class Static(FixedNetwork):
    """One component that runs once, one operating point.

    Args:
        image_shape: (channels, height, width) of the normalised input.
        classes: the number of classes.
        channels: of each stage.
        strides: of each stage's transition; 0 for a stage without one, which receives what is below as it is.
        cell: what stages are made of; see `dynalay.cells`.
        pool: how the head pools.
        cells: how many cells each stage has, none of them shared.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        classes: int,
        *,
        channels: tuple[int, ...] = (16, 32, 64),
        strides: tuple[int, ...] = (1, 2, 2),
        cell: Literal["standardised", "residual", "mdeq"] = "standardised",
        pool: Literal["average", "maximum"] = "average",
        cells: int = 1,
    ) -> None:
        super().__init__(image_shape, classes)
        if cells < 1:
            raise ValueError(f"cells={cells}: a stage needs one cell or more")
        # Only the first layer of a stage has a transition.
        widths = chain.from_iterable([width] * cells for width in channels)
        steps = chain.from_iterable([stride] + [0] * (cells - 1) for stride in strides)
        parts = image_parts(image_shape, classes, tuple(widths), tuple(steps), cell, pool)
        layers = [_Layer(*layer) for layer in zip(parts.transitions, parts.cells, strict=True)]
        self.network = nn.Sequential(parts.stem, *layers, parts.head)


class _Layer(nn.Module):
    """A transition, and its cell evaluated once, from zero."""

    def __init__(self, transition: nn.Module, cell: nn.Module) -> None:
        super().__init__()
        self.transition = transition
        self.cell = cell

    def forward(self, below: Tensor) -> Tensor:
        u = self.transition(below)
        return self.cell(torch.zeros_like(u), u)
