"""Broyden's method."""

import torch
from jaxtyping import Float
from torch import Tensor

from dynalay.fixed_point.solver import History, Solver, States, as_batch, as_vectors, stored

Vectors = Float[Tensor, "samples size"]
#: One of the two factors of the inverse Jacobian's update.
Pairs = Float[Tensor, "samples memory size"]


class Broyden(Solver):
    """Good Broyden (Broyden 1965) on the root g(z) = f(z) - z = 0, with limited memory, for each sample by itself.

    The inverse Jacobian is H = -I + U V^T.  The step is z <- z - H g, and the secant of the last step enters by
    Sherman and Morrison's formula, with dz and dg its change of z and g::

        v = H^T dz,    u = (dz - H dg) / (v . dg)

    -I is the inverse Jacobian of g where f is constant, so the first step is Picard's.  A sample starts afresh with
    such a step when its memory is full: later pairs build on earlier ones, and dropping the oldest makes the iteration
    diverge.

    Args:
        memory: how many pairs (u, v) are kept.
    """

    def __init__(self, memory: int = 10) -> None:
        super().__init__()
        if memory < 1:
            raise ValueError(f"Broyden(memory={memory}): memory must be at least 1")
        self.memory = memory

    def init(self, z: States, fz: States) -> tuple[Tensor, ...]:
        state, image = as_vectors(z, z), as_vectors(fz, z)
        samples, size = state.shape
        pairs = z.new_zeros(samples, self.memory, size)
        return state, image - state, pairs, torch.zeros_like(pairs), z.new_zeros(samples, dtype=torch.int64)

    def forward(self, z: States, fz: States, *history: History) -> tuple[Tensor, ...]:
        previous_state, previous_g, left, right, held = history
        held = held.long()  # how many pairs each sample has
        state = as_vectors(z, z)
        g = as_vectors(fz, z) - state
        dz, dg = state - previous_state, g - previous_g
        in_use = torch.arange(self.memory, device=z.device) < held.unsqueeze(1)
        # Autocast would round the products to half precision.
        with torch.autocast(z.device.type, enabled=False):
            v = _minus_identity_plus(right, left, in_use, dz)
            h_g = _minus_identity_plus(left, right, in_use, g)
            denominator = _dot(v, dg)
            # The first update has no secant yet, a stalled one none that means anything: neither makes a pair.
            sound = denominator.abs() > torch.finfo(z.dtype).eps * (_dot(v, v) * _dot(dg, dg)).sqrt()
            # dz - H dg, since the last step was dz = -H g with the g of then.
            u = torch.where(sound, -h_g / torch.where(sound, denominator, 1), 0)
            full = held == self.memory
            step = torch.where(full.unsqueeze(1), g, -h_g - u * _dot(v, g))
        slot = held.clamp(max=self.memory - 1)
        left, right = stored(left, slot, u), stored(right, slot, v)
        held = torch.where(full, 0, held + sound.squeeze(1))
        return as_batch(state + step, like=z), state, g, left, right, held

    def extra_repr(self) -> str:
        return f"memory={self.memory}"


def _minus_identity_plus(left: Pairs, right: Pairs, in_use: Tensor, x: Vectors) -> Vectors:
    """(-I + left right^T) x, [samples, size], where left and right hold columns [samples, memory, size].

    Only columns `in_use`, bool [samples, memory], take part.
    """
    # Not right @ x, which the CPU computes several times slower.
    coefficients = torch.where(in_use.unsqueeze(1), x.unsqueeze(1) @ right.mT, 0)
    return (coefficients @ left).squeeze(1) - x


def _dot(a: Vectors, b: Vectors) -> Float[Tensor, "samples 1"]:
    """The inner product of each sample, [samples, 1], of [samples, size]."""
    return (a * b).sum(dim=1, keepdim=True)
