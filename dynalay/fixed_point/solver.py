"""What a fixed-point solver is: a rule for the next iterate, with a history per sample."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from dynalay.components import Component


class Solver(nn.Module, ABC):
    """A rule that proposes the next iterate from z, f(z) and a history.

    The history is a tuple of tensors of fixed shape, each [samples, ...], padded with zeros while it is short: so it
    compacts by indexing when a sample leaves the solve, and one update costs the same for every sample and iteration.
    The rule is a module, so that a model can declare it as a component: the matrix products of a quasi-Newton update
    are compute like any other.
    """

    @abstractmethod
    def init(self, z: Tensor, fz: Tensor) -> tuple[Tensor, ...]:
        """The history before the first update, from the first iterate and its image, each [samples, *shape]."""

    @abstractmethod
    def forward(self, z: Tensor, fz: Tensor, *history: Tensor) -> tuple[Tensor, ...]:
        """The next iterate [samples, *shape] and then the new history, shaped as the old one."""

    def component(self, shape: tuple[int, ...]) -> Component | None:
        """One update as a component, for states of this shape without the batch; None where it is elementwise only.

        A component's cost is fvcore's count, which takes elementwise operations for free.
        """
        example = torch.zeros(1, *shape)
        return Component(
            self, tuple(tuple(tensor.shape[1:]) for tensor in (example, example, *self.init(example, example)))
        )


def newest_first(history: Tensor, entry: Tensor) -> Tensor:
    """`history` [samples, memory, ...] with `entry` [samples, ...] put first and the oldest entry dropped.

    A new tensor and not a slot overwritten, because an unrolled gradient runs back through every history.
    """
    return torch.cat([entry.unsqueeze(1), history[:, :-1]], dim=1)
