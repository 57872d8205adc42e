"""Gradients of fixed points: implicit, phantom or unrolled."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from dynalay.fixed_point.iteration import Solution, solve
from dynalay.fixed_point.solver import Solver

Gradient = Literal["implicit", "phantom", "unrolled"]


def fixed_point(
    function: Callable[[Tensor, Tensor], Tensor],
    start: Float[Tensor, "batch *state"],
    *,
    gradient: Gradient = "unrolled",
    phantom_steps: int = 5,
    phantom_damping: float = 0.5,
    solver: Solver | None = None,
    relative_tolerance: float = 1e-3,
    absolute_tolerance: float = 0.0,
    max_iterations: int = 50,
    check_every: int = 1,
    update: Callable[..., tuple[Tensor, ...]] | None = None,
) -> Solution:
    """`solve`, with a value through which gradients reach f's parameters and whatever else f closes over.

    - ``"implicit"``: the implicit function theorem (Bai 2019).  One more evaluation of f at the fixed point z gives the
      value and the graph; backward solves g = J^T g + dL/dz, J = df/dz, by the same solver and relative tolerance,
      every sample with its own convergence, and hands g to that graph.  The products J^T g run through the graph of
      the whole batch, since a smaller graph would cost another forward.  A sample whose adjoint leaves the finite
      numbers keeps g = dL/dz.  No second derivatives.
    - ``"phantom"``: `phantom_steps` damped steps z <- z + phantom_damping (f(z) - z) from the fixed point, and ordinary
      backpropagation through them (Geng 2021, unrolling-based phantom gradient).
    - ``"unrolled"``: ordinary backpropagation through every iteration, also into `start`.

    The memory of the first two does not grow with the number of iterations.  Their additional evaluations go to
    `function` with all rows and are not counted in `Solution.iterations`; `iterations`, `residual` and `converged` are
    those of the search.  Where gradients are disabled this is `solve`.

    Args:
        function: f(z, rows), as for `solve`.
        start: the first iterates [batch, ...].
        gradient: how gradients are made.
        phantom_steps: at least 1.
        phantom_damping: in (0, 1].
        solver: as for `solve`.
        relative_tolerance: as for `solve`.
        absolute_tolerance: as for `solve`; the adjoint has none, since the scale of a loss is arbitrary.
        max_iterations: as for `solve`; the adjoint has the same cap.
        check_every: as for `solve`.
        update: as for `solve`; the adjoint's updates do not go through it.

    Example: dz/du of z = z / 2 + u is 2.
        >>> u = torch.ones(3, 1, requires_grad=True)
        >>> solution = fixed_point(lambda z, rows: z / 2 + u[rows], torch.zeros(3, 1), relative_tolerance=1e-6)
        >>> solution.value.sum().backward()
        >>> u.grad.flatten()
        tensor([2.0000, 2.0000, 2.0000])
    """
    if gradient not in get_args(Gradient):
        raise ValueError(f"fixed_point(gradient={gradient!r}): choose one of {', '.join(get_args(Gradient))}")
    if phantom_steps < 1 or not 0 < phantom_damping <= 1:
        raise ValueError(
            f"fixed_point(phantom_steps={phantom_steps}, phantom_damping={phantom_damping}): "
            "steps must be at least 1, damping in (0, 1]"
        )

    search = partial(
        solve,
        solver=solver,
        relative_tolerance=relative_tolerance,
        max_iterations=max_iterations,
        check_every=check_every,
    )
    forward = partial(search, function, absolute_tolerance=absolute_tolerance, update=update)

    if not torch.is_grad_enabled():
        return forward(start)
    if gradient == "unrolled":
        # torch before 2.14 crashes on the CPU in the backward of GroupNorm on a channels_last input that needs no
        # gradient itself, as the first differentiated evaluation may have: hence contiguous, here and below.
        return forward(start.contiguous())

    with torch.no_grad():
        found = forward(start)
    # Autocast keeps the casts of weights that the search made without a graph, and torch before 2.13 uses them again
    # below: every weight would stay as it is (pytorch/pytorch#165068).  Tested by simulation, on every version.
    torch.clear_autocast_cache()
    z = found.value.contiguous()
    rows = torch.arange(z.shape[0], device=z.device)

    if gradient == "phantom":
        for _ in range(phantom_steps):
            z = torch.lerp(z, function(z, rows).to(z.dtype), phantom_damping)
        return replace(found, value=z)

    z.requires_grad_()
    fz = function(z, rows).to(z.dtype)

    def adjoint(outer: Tensor | None) -> Tensor | None:
        if outer is None:  # autograd's zero, where a function further on passes no gradient back
            return None

        def transposed(g: Tensor, rows: Tensor) -> Tensor:
            cotangent = torch.zeros_like(outer).index_copy(0, rows, g)
            (product,) = torch.autograd.grad(fz, z, cotangent, retain_graph=True, materialize_grads=True)
            return product[rows] + outer[rows]

        return search(transposed, outer).value

    value = fz.view_as(fz)  # a node of its own: the products above run through fz and must not call the hook again
    value.register_hook(adjoint)
    return replace(found, value=value)
