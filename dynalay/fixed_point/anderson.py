"""Anderson acceleration."""

import torch
from torch import Tensor

from dynalay.fixed_point.solver import History, Solver, States, as_batch, as_vectors, stored


class Anderson(Solver):
    """Anderson acceleration, type II (Walker & Ni 2011, eq. 2.3-2.5), for each sample by itself.

    With the residual r = f(z) - z and the last differences dZ, dR of iterates and residuals as columns::

        gamma = argmin |r - dR gamma|^2,    z <- z + beta r - (dZ + beta dR) gamma

    The least squares are solved by normal equations whose diagonal is scaled to one, because the columns shrink
    geometrically as the iteration converges; a column of zeros (a history still short) then gets gamma = 0.

    Args:
        memory: how many differences are kept; 0 would be Picard.
        beta: how much of the residual that the history does not explain is added, in (0, 1].
        regularisation: added to the unit diagonal.  The default stands above float32's rounding of the products.
    """

    def __init__(self, memory: int = 5, beta: float = 1.0, regularisation: float = 1e-6) -> None:
        super().__init__()
        if memory < 1 or not 0 < beta <= 1 or regularisation <= 0:
            raise ValueError(
                f"Anderson(memory={memory}, beta={beta}, regularisation={regularisation}): "
                "memory must be at least 1, beta in (0, 1] and regularisation above 0"
            )
        self.memory = memory
        self.beta = beta
        self.regularisation = regularisation

    def init(self, z: States, fz: States) -> tuple[Tensor, ...]:
        state, image = as_vectors(z, z), as_vectors(fz, z)
        samples, size = state.shape
        columns = z.new_zeros(samples, self.memory, size)
        gram = z.new_zeros(samples, self.memory, self.memory)
        return state, image - state, columns, torch.zeros_like(columns), gram, z.new_zeros(samples, dtype=torch.int64)

    def forward(self, z: States, fz: States, *history: History) -> tuple[Tensor, ...]:
        previous_state, previous_r, steps, dr, gram, slot = history
        slot, state = slot.long(), as_vectors(z, z)
        r = as_vectors(fz, z) - state
        change = r - previous_r
        # What a coefficient multiplies is kept whole, dz + beta dr, so that it is not added up again in each update.
        steps = stored(steps, slot, torch.add(state - previous_state, change, alpha=self.beta))
        dr = stored(dr, slot, change)
        # Autocast would round the products to half precision, which is less than the differences they compare.
        with torch.autocast(z.device.type, enabled=False):
            # In this order, because the CPU multiplies a batch of wide matrices by few columns several times slower.
            with_change, with_r = (torch.stack([change, r], dim=1) @ dr.mT).unbind(dim=1)  # [samples, memory]
            gram = stored(stored(gram, slot, with_change).mT.contiguous(), slot, with_change)
            squares = gram.diagonal(dim1=1, dim2=2)
            scale = torch.where(squares > 0, squares, 1).sqrt().unsqueeze(-1)
            ridge = self.regularisation * torch.eye(self.memory, dtype=z.dtype, device=z.device)
            # solve_ex does not check for errors, so that a GPU need not be waited for.
            gamma = torch.linalg.solve_ex(gram / (scale * scale.mT) + ridge, with_r.unsqueeze(2) / scale).result / scale
            correction = (gamma.mT @ steps).squeeze(1)
        following = as_batch(torch.add(state, r, alpha=self.beta) - correction, like=z)
        return following, state, r, steps, dr, gram, (slot + 1) % self.memory

    def extra_repr(self) -> str:
        return f"memory={self.memory}, beta={self.beta}, regularisation={self.regularisation}"
