"""What a fixed-point solver is: a rule for the next iterate, with a history per sample."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor, nn

from dynalay.components import Component
from dynalay.rows import blocks, from_blocks

#: Iterates and their images; in one signature, all of one shape.
States = Float[Tensor, "samples *state"]
#: One entry of a history.
History = Shaped[Tensor, "samples ..."]


class Solver(nn.Module, ABC):
    """A rule that proposes the next iterate from z, f(z) and a history.

    The history is a tuple of tensors of fixed shape, each [samples, ...], padded with zeros while it is short: so it
    compacts by indexing when a sample leaves the solve, and one update costs the same for every sample and iteration.
    Where gradients are disabled an update may overwrite it.
    The rule is a module, so that a model can declare it as a component: the matrix products of a quasi-Newton update
    are compute like any other.
    """

    @abstractmethod
    def init(self, z: States, fz: States) -> tuple[Tensor, ...]:
        """The history before the first update, from the first iterate and its image, each [samples, *shape]."""

    @abstractmethod
    def forward(self, z: States, fz: States, *history: History) -> tuple[Tensor, ...]:
        """The next iterate [samples, *shape] and then the new history, shaped as the old one."""

    def component(self, shape: tuple[int, ...]) -> Component | None:
        """One update as a component, for states of this shape without the batch; None where it is elementwise only.

        A component's cost is fvcore's count, which takes elementwise operations for free.
        """
        example = torch.zeros(1, *shape)
        return Component(
            self, tuple(tuple(tensor.shape[1:]) for tensor in (example, example, *self.init(example, example)))
        )


def stored(
    history: Float[Tensor, "samples memory size"], slot: Int64[Tensor, "samples"], entry: Float[Tensor, "samples size"]
) -> Float[Tensor, "samples memory size"]:
    """`history` [samples, memory, size] with `entry` [samples, size] in each sample's `slot`, int64 [samples].

    In place where no graph needs what stood there, since a history is larger than all else that an update touches; an
    unrolled gradient runs back through every history.
    """
    samples, memory, size = history.shape
    places = torch.arange(samples, device=history.device) * memory + slot
    flat = history.view(samples * memory, size)
    flat = flat.index_copy(0, places, entry) if torch.is_grad_enabled() else flat.index_copy_(0, places, entry)
    return flat.view(samples, memory, size)


def as_vectors(batch: History, like: States) -> Float[Tensor, "samples size"]:
    """[samples, ...] as [samples, size], in the order of the memory of `like`; copied only if it has another layout."""
    return blocks(batch, like).unsqueeze(-1).flatten(1)


def as_batch(vectors: Float[Tensor, "samples size"], like: States) -> States:
    """What `as_vectors` made of a batch, in the shape and layout of `like`."""
    return from_blocks(vectors.reshape(blocks(like).shape), like)
