"""The iteration to a fixed point, in which every sample stops by itself and then leaves the batch."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from dynalay.fixed_point.picard import Picard
from dynalay.fixed_point.solver import Solver, States
from dynalay.rows import gathered, partition, take


@dataclass(frozen=True)
class Solution:
    """Where each sample's iteration ended; that it did not converge is said here and never by an exception.

    Attributes:
        value: f(z) of the last iterate z at which f was evaluated, [batch, ...]; of the type of the start,
            and at least float32 under autocast.  A sample whose
            iteration left the finite numbers has its start instead.
        iterations: evaluations of f, int64 [batch].
        residual: |f(z) - z| / (|f(z)| + tiny) at that last iterate, in Euclidean norms over the sample's state and with
            the smallest normal number of the type, [batch].  At `value` itself |f(z) - z| is smaller yet by the factor
            to which f contracts.  Infinite where the iteration left the finite numbers.
        converged: whether |f(z) - z| <= absolute_tolerance + relative_tolerance |f(z)| there, bool [batch].
    """

    value: Float[Tensor, "batch *state"]
    iterations: Int64[Tensor, "batch"]
    residual: Float[Tensor, "batch"]
    converged: Bool[Tensor, "batch"]


def solve(
    function: Callable[[Tensor, Tensor], Tensor],
    start: Float[Tensor, "batch *state"],
    *,
    solver: Solver | None = None,
    relative_tolerance: float = 1e-3,
    absolute_tolerance: float = 0.0,
    max_iterations: int = 50,
    check_every: int = 1,
    update: Callable[..., tuple[Tensor, ...]] | None = None,
) -> Solution:
    """Iterate z = f(z) from `start` until every sample has converged, left the finite numbers, or reached the cap.

    A finished sample leaves: f and the solver run on the rows that are still active, and nothing that happens to one
    sample depends on the others.  The state is kept in float32 at least, since it holds what the iteration gains; f
    itself may compute in less.  Under autocast f receives that state, and the value has its type; elsewhere f
    receives, and the value has, the type of `start`, so that modules in bfloat16 fit.  Rounding in f bounds the
    residual from below, for a cell of two convolutions near 1e-7 in float32 and 2e-3 in bfloat16: a tolerance below
    that runs to the cap and says so.

    Runs in the caller's gradient mode; `fixed_point` is the version to train with.

    Args:
        function: f(z, rows) for the active states z [active, ...] and their indices `rows`, int64 [active], into the
            batch; returns [active, ...].
        start: the first iterates [batch, ...]; a good guess (warm start) saves iterations.
        solver: the rule for the next iterate; `Picard()` by default.
        relative_tolerance: see `Solution.converged`.  0 iterates to the cap, but for a sample that f maps onto itself.
        absolute_tolerance: see `Solution.converged`; needed only where fixed points may be zero.
        max_iterations: evaluations of f that one sample may take, at least 1.
        check_every: iterations between looks at who has finished.  A look makes the CPU wait for a GPU, since the
            number of active rows decides the shapes of all that follows; finished samples iterate on until the next.
        update: executes the solver's rule in place of ``solver(z, fz, *history)``; called as
            ``update(z, fz, *history, rows=rows)``, for instance ``partial(meter, "solver")``.

    Example:
        >>> gain = torch.tensor([[0.0], [0.5], [0.9]])
        >>> function = lambda z, rows: gain[rows] * z + 1
        >>> solution = solve(function, torch.zeros(3, 1), relative_tolerance=1e-6, max_iterations=30)
        >>> solution.iterations.tolist(), solution.converged.tolist()
        ([2, 20, 30], [True, True, False])
        >>> solution.value[:2].flatten()
        tensor([1.0000, 2.0000])
    """
    if max_iterations < 1 or check_every < 1:
        raise ValueError(f"solve(max_iterations={max_iterations}, check_every={check_every}): both must be at least 1")
    rule = solver or Picard()
    advance = update or (lambda *inputs, rows: rule(*inputs))
    wide = torch.promote_types(start.dtype, torch.float32)
    own = wide if torch.is_autocast_enabled(start.device.type) else start.dtype
    start = start.to(wide)
    z, rows = start, torch.arange(start.shape[0], device=start.device)
    if not len(rows):
        return Solution(z.to(own), rows, z.new_zeros(0), rows.bool())
    history: tuple[Tensor, ...] | None = None
    finished = []
    for iteration in range(1, max_iterations + 1):
        fz = function(z.to(own), rows).to(wide)
        last = iteration == max_iterations
        if last or iteration % check_every == 0:
            residual, converged, finite = _assess(z.detach(), fz.detach(), relative_tolerance, absolute_tolerance)
            if last:  # all leave
                leave = torch.arange(len(z), device=z.device)
                stay = leave[:0]
            else:
                leave, stay = partition(converged | ~finite)  # waits for a GPU, and breaks a compiled graph
            if len(leave):
                out, image, count = take(rows, leave), take(fz, leave), torch.full_like(leave, iteration)
                value = torch.where(take(finite, leave).reshape(-1, *[1] * (z.dim() - 1)), image, take(start, out))
                finished.append([out, value, count, take(residual, leave), take(converged, leave)])
                if not len(stay):
                    break
                if history and z.device.type == "cpu" and not torch.is_grad_enabled():
                    stay = _moved_up(stay, history)
                    history = tuple(part[: len(stay)] for part in history)
                elif history:
                    history = tuple(take(part, stay) for part in history)
                rows, z, fz = (take(part, stay) for part in (rows, z, fz))
        if history is None:
            history = rule.init(z, fz)
            z = z.clone() if history else z  # a history may hold views of it, and is overwritten
        z, *entries = advance(z, fz, *history, rows=rows)
        history = tuple(entries)
    if len(finished) == 1:  # all left together, in order
        value, *rest = finished[0][1:]
        return Solution(value.to(own), *rest)
    left, *found = zip(*finished, strict=True)
    value, iterations, residual, converged = (gathered(left, parts) for parts in found)
    return Solution(value.to(own), iterations, residual, converged)


def _moved_up(stay: Tensor, history: tuple[Tensor, ...]) -> Tensor:
    """Make the first rows of a history those of `stay`, in place; the order in which they then are.

    Only as many rows are moved as leave in front of one that stays: a history is much larger than a state, and copying
    all of it takes as long as an update. On a GPU finding out which they are would take longer.
    """
    staying = len(stay)
    free = torch.ones(staying, dtype=torch.bool, device=stay.device)
    free[stay[stay < staying]] = False
    places, moving = free.nonzero().squeeze(1), stay[stay >= staying]
    for part in history:
        part.index_copy_(0, places, part.index_select(0, moving))
    return torch.arange(staying, device=stay.device).index_copy(0, places, moving)


def _assess(
    z: States, fz: States, relative: float, absolute: float
) -> tuple[Float[Tensor, "samples"], Bool[Tensor, "samples"], Bool[Tensor, "samples"]]:
    """For each sample: its relative residual, whether it has converged, and whether it is finite."""
    gap = torch.linalg.vector_norm((fz - z).unsqueeze(-1).flatten(1), dim=1)
    size = torch.linalg.vector_norm(fz.unsqueeze(-1).flatten(1), dim=1)
    finite = (gap + size).isfinite()
    residual = torch.where(finite, gap / (size + torch.finfo(z.dtype).tiny), torch.inf)
    return residual, finite & (gap <= absolute + relative * size), finite
