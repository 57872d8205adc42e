"""Damped Picard iteration."""

import torch
from torch import Tensor

from dynalay.components import Component
from dynalay.fixed_point.solver import History, Solver, States


class Picard(Solver):
    """z <- (1 - damping) z + damping f(z) (Krasnoselskii-Mann): converges for every contraction.

    Args:
        damping: in (0, 1]; 1 is the plain iteration.  Less than 1 also reaches fixed points of maps that overshoot
            (Jacobian eigenvalues below -1), and is slower on all others.
    """

    def __init__(self, damping: float = 1.0) -> None:
        super().__init__()
        if not 0 < damping <= 1:
            raise ValueError(f"Picard(damping={damping}): damping must lie in (0, 1]")
        self.damping = damping

    def init(self, z: States, fz: States) -> tuple[Tensor, ...]:
        return ()

    def forward(self, z: States, fz: States, *history: History) -> tuple[Tensor, ...]:
        return (fz if self.damping == 1 else torch.lerp(z, fz, self.damping),)

    def component(self, shape: tuple[int, ...]) -> Component | None:
        return None

    def extra_repr(self) -> str:
        return f"damping={self.damping}"
