"""The FPI layer: a layer whose output is the fixed point of a cell."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from dynalay.fixed_point import Gradient, Picard, Solution, Solver, fixed_point
from dynalay.rows import take


class FPILayer(nn.Module):
    """The fixed point z* = cell(z*, u) of any cell, for each sample by itself.

    Args:
        cell: a module called as ``cell(z, u)`` with the state [rows, *state shape] and the input [rows, *input shape],
            which returns the next state.  A sample's next state must depend on that sample alone: no batch statistics.

    All other parameters are those of `dynalay.fixed_point.solve` and `dynalay.fixed_point.fixed_point`.

    Example: as a library, and through a meter that counts what runs.
        >>> from functools import partial
        >>> from dynalay.components import Component
        >>> from dynalay.meter import Meter
        >>> class Cell(nn.Module):
        ...     def forward(self, z, u):
        ...         return u * z + 1
        >>> layer = FPILayer(Cell(), relative_tolerance=1e-6)
        >>> u = torch.tensor([[0.0], [0.5]])
        >>> layer(u).value.flatten()
        tensor([1.0000, 2.0000])
        >>> meter = Meter({"cell": Component(layer.cell, ((1,), (1,)))}, samples=2)
        >>> with torch.no_grad():
        ...     solution = layer(u, run=partial(meter, "cell"))
        >>> solution.iterations.tolist(), meter.executions.flatten().tolist()
        ([2, 20], [2, 20])
    """

    def __init__(
        self,
        cell: nn.Module,
        *,
        solver: Solver | None = None,
        gradient: Gradient = "unrolled",
        relative_tolerance: float = 1e-3,
        absolute_tolerance: float = 0.0,
        max_iterations: int = 50,
        check_every: int = 1,
        phantom_steps: int = 5,
        phantom_damping: float = 0.5,
    ) -> None:
        super().__init__()
        self.cell = cell
        self.solver = solver or Picard()
        self.gradient = gradient
        self.relative_tolerance = relative_tolerance
        self.absolute_tolerance = absolute_tolerance
        self.max_iterations = max_iterations
        self.check_every = check_every
        self.phantom_steps = phantom_steps
        self.phantom_damping = phantom_damping

    def forward(
        self,
        u: Float[Tensor, "batch *input"],
        z0: Float[Tensor, "batch *state"] | None = None,
        *,
        rows: Int64[Tensor, "batch"] | None = None,
        run: Callable[..., Tensor] | None = None,
        update: Callable[..., tuple[Tensor, ...]] | None = None,
    ) -> Solution:
        """Solve from `z0` and return the solution, whose value carries the gradient.

        Args:
            u: the cell's input [batch, *input shape].
            z0: the start [batch, *state shape]; None means zeros shaped as `u`.
            rows: int64 [batch], where these samples stand in a larger batch; only handed on to `run` and `update`.
            run: executes the cell, called as ``run(z, u, rows=rows)`` on the samples that are still active; for
                instance ``partial(meter, "layer1.cell")``.  None calls the cell itself.
            update: executes the solver's update in the same way, called as ``update(z, fz, *history, rows=rows)``: for
                solvers whose `component` is not None.
        """
        cell = run or (lambda z, u, rows: self.cell(z, u))

        def outer(active: Tensor) -> Tensor:
            return active if rows is None else take(rows, active)

        return fixed_point(
            lambda z, active: cell(z, take(u, active), rows=outer(active)),
            torch.zeros_like(u) if z0 is None else z0,
            gradient=self.gradient,
            phantom_steps=self.phantom_steps,
            phantom_damping=self.phantom_damping,
            solver=self.solver,
            relative_tolerance=self.relative_tolerance,
            absolute_tolerance=self.absolute_tolerance,
            max_iterations=self.max_iterations,
            check_every=self.check_every,
            update=update and (lambda *inputs, rows: update(*inputs, rows=outer(rows))),
        )

    def step(self, z: Float[Tensor, "batch *state"], u: Float[Tensor, "batch *input"]) -> Float[Tensor, "batch *state"]:
        """One application of the cell: [batch, *state shape]."""
        return self.cell(z, u)
