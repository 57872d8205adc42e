"""Broyden's method."""

import torch
from torch import Tensor

from dynalay.fixed_point.solver import Solver, newest_first


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

    def init(self, z: Tensor, fz: Tensor) -> tuple[Tensor, ...]:
        empty = z.new_zeros(z.shape[0], self.memory, *z.shape[1:])
        return z, fz - z, empty, empty

    def forward(self, z: Tensor, fz: Tensor, *history: Tensor) -> tuple[Tensor, ...]:
        previous_z, previous_g, left, right = history
        g = fz - z
        dz, dg = z - previous_z, g - previous_g
        # Autocast would round the products to half precision.
        with torch.autocast(z.device.type, enabled=False):
            v = _minus_identity_plus(right, left, dz)
            h_dg = _minus_identity_plus(left, right, dg)
            denominator = _dot(v, dg)
            # The first update has no secant yet, a stalled one none that means anything: both enter as u = 0.
            sound = denominator.abs() > torch.finfo(z.dtype).eps * (_dot(v, v) * _dot(dg, dg)).sqrt()
            u = torch.where(sound, (dz - h_dg) / torch.where(sound, denominator, 1), 0)
            full = (right[:, -1:] != 0).flatten(1).any(dim=1).reshape_as(denominator).unsqueeze(1)
            left = torch.where(full, 0, newest_first(left, u))
            right = torch.where(full, 0, newest_first(right, v))
            step = -_minus_identity_plus(left, right, g)
        return z + step, z, g, left, right

    def extra_repr(self) -> str:
        return f"memory={self.memory}"


def _minus_identity_plus(left: Tensor, right: Tensor, x: Tensor) -> Tensor:
    """(-I + left right^T) x, where left and right hold columns [samples, memory, ...] and x is [samples, ...]."""
    coefficients = right.unsqueeze(-1).flatten(2) @ x.unsqueeze(-1).flatten(1).unsqueeze(-1)
    return (coefficients.mT @ left.unsqueeze(-1).flatten(2)).reshape(x.shape) - x


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """The inner product of each sample, broadcastable against it: [samples, 1, ...]."""
    return (a * b).unsqueeze(-1).flatten(1).sum(dim=1).reshape(-1, *[1] * (a.dim() - 1))
