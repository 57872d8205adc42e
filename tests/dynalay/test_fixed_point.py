"""Solvers: against closed forms and TorchDEQ, and what a batch of independent samples promises."""

from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchdeq import get_deq

from dynalay.components import component_cost
from dynalay.fixed_point import SOLVERS, Anderson, Broyden, Picard, solve
from dynalay.meter import Meter
from timings.solvers import compare

EXACT: dict[str, Any] = {"relative_tolerance": 1e-11, "max_iterations": 1000}
TORCHDEQ = {"Picard": "fixed_point_iter", "Anderson": "anderson", "Broyden": "broyden"}
CONTRACTIONS = torch.linspace(0.1, 0.95, 6, dtype=torch.float64)

each_solver = pytest.mark.parametrize("solver", [kind() for kind in SOLVERS.values()], ids=list(SOLVERS))


class Linear:
    """z -> A_i z + b_i with spectral norms |A_i| from `contractions`; notes the rows of every call."""

    def __init__(self, contractions, size=12, seed=0):
        generator = torch.Generator().manual_seed(seed)
        matrices = torch.randn(len(contractions), size, size, generator=generator, dtype=torch.float64)
        matrices = matrices @ matrices.mT  # symmetric: the spectral norm is the rate of convergence
        norms = torch.linalg.matrix_norm(matrices, 2)
        self.matrices = matrices * (contractions / norms)[:, None, None]
        self.offsets = torch.randn(len(contractions), size, generator=generator, dtype=torch.float64)
        self.start = torch.zeros_like(self.offsets)
        self.fixed = torch.linalg.solve(torch.eye(size, dtype=torch.float64) - self.matrices, self.offsets)
        self.calls: list[torch.Tensor] = []

    def __call__(self, z, rows):
        self.calls.append(rows)
        return (self.matrices[rows] @ z.unsqueeze(-1)).squeeze(-1) + self.offsets[rows]

    def take(self, order):
        other = Linear(torch.ones(0, dtype=torch.float64))
        for name in ("matrices", "offsets", "start", "fixed"):
            setattr(other, name, getattr(self, name)[order])
        return other


class ConvolutionalCell(nn.Module):
    """z -> tanh(gain_i conv(z) + u_i), whose spectral norm is at most gain_i."""

    def __init__(self, gains):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1, bias=False, dtype=torch.float64)
        with torch.no_grad():  # |conv|_2 <= sqrt(kernel positions) * |kernel as a matrix|_2
            self.conv.weight /= 3 * torch.linalg.matrix_norm(self.conv.weight.flatten(1), 2)
        self.gains = gains.view(-1, 1, 1, 1)
        self.u = torch.randn(len(gains), 3, 5, 5, dtype=torch.float64)

    def forward(self, z, rows):
        return torch.tanh(self.gains[rows] * self.conv(z) + self.u[rows])


@each_solver
def test_linear_cells_reach_the_solution_of_their_equations(solver):
    function = Linear(CONTRACTIONS)
    solution = solve(function, function.start, solver=solver, **EXACT)
    assert solution.converged.all()
    torch.testing.assert_close(solution.value, function.fixed, rtol=1e-8, atol=1e-8)
    assert solution.iterations.max() > 2 * solution.iterations.min(), "each sample has its own speed"


@each_solver
def test_convolutional_cells_agree_with_torchdeq(solver):
    torch.manual_seed(0)
    cell = ConvolutionalCell(CONTRACTIONS)
    start = torch.zeros_like(cell.u)
    everything = torch.arange(len(start))
    deq = get_deq(f_solver=TORCHDEQ[type(solver).__name__], f_stop_mode="rel", f_tol=1e-12, f_max_iter=200)
    with torch.no_grad():
        solution = solve(cell, start, solver=solver, **EXACT)
        (expected,), _ = deq(lambda z: cell(z, everything), start)
    assert solution.converged.all()
    torch.testing.assert_close(solution.value, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("solver", [Anderson(), Anderson(beta=0.7), Broyden()], ids=repr)
def test_acceleration_saves_iterations(solver):
    function = Linear(torch.full((4,), 0.97, dtype=torch.float64))
    plain, accelerated = (solve(function, function.start, solver=s, **EXACT).iterations for s in (Picard(), solver))
    assert (accelerated * 3 < plain).all()


def test_damping_reaches_fixed_points_that_the_plain_iteration_misses():
    def overshoot(z, rows):
        return 1 - 1.5 * z  # slope -1.5, fixed point 0.4

    start = torch.zeros(1, 1)
    assert not solve(overshoot, start).converged
    damped = solve(overshoot, start, solver=Picard(damping=0.5), relative_tolerance=1e-5)
    assert damped.converged
    torch.testing.assert_close(damped.value, torch.tensor([[0.4]]), rtol=1e-4, atol=0)


@pytest.mark.parametrize("memory", [1, 5, 10])
def test_broyden_converges_with_less_memory_than_it_takes_iterations(memory):
    function = Linear(torch.full((4,), 0.95, dtype=torch.float64), size=30)
    solution = solve(function, function.start, solver=Broyden(memory), **EXACT)
    assert solution.iterations.min() > memory
    assert solution.converged.all()


@each_solver
def test_rows_tell_who_is_active_and_iterations_how_often(solver):
    function = Linear(CONTRACTIONS.flip(0))
    solution = solve(function, function.start, solver=solver, **EXACT)
    for rows in function.calls:
        assert rows.tolist() == sorted(set(rows.tolist())), "in order, each once"
    executed = torch.bincount(torch.cat(function.calls), minlength=len(CONTRACTIONS))
    assert executed.tolist() == solution.iterations.tolist()
    first = function.calls[solution.iterations.min()]
    assert len(first) < len(CONTRACTIONS), "who has converged is called no more"


@each_solver
def test_residual_is_that_of_the_last_evaluation(solver):
    function = Linear(CONTRACTIONS)
    last = {}

    def noting(z, rows):
        fz = function(z, rows)
        last.update({int(row): (z[i], fz[i]) for i, row in enumerate(rows)})
        return fz

    solution = solve(noting, function.start, solver=solver, relative_tolerance=1e-4, max_iterations=7)
    for row, (z, fz) in last.items():
        assert torch.equal(solution.value[row], fz)
        torch.testing.assert_close(solution.residual[row], (fz - z).norm() / fz.norm())
    assert solution.converged.tolist() == (solution.residual <= 1e-4).tolist()
    assert not solution.converged.all()


@each_solver
def test_warm_start_at_the_solution_takes_one_evaluation(solver):
    function = Linear(CONTRACTIONS)
    solution = solve(function, function.fixed, solver=solver, relative_tolerance=1e-9)
    assert solution.iterations.tolist() == [1] * len(CONTRACTIONS)
    assert solution.converged.all()


def test_absolute_tolerance_stops_where_the_fixed_point_is_zero():
    def halve(z, rows):
        return z / 2

    assert not solve(halve, torch.ones(1, 4), relative_tolerance=0.5, max_iterations=20).converged
    solution = solve(halve, torch.ones(1, 4), absolute_tolerance=1e-3, max_iterations=20)
    assert solution.converged
    assert solution.value.norm() <= 1e-3


def test_no_tolerance_runs_to_the_cap():
    function = Linear(CONTRACTIONS)
    solution = solve(function, function.start, relative_tolerance=0, max_iterations=7)
    assert solution.iterations.tolist() == [7] * len(CONTRACTIONS)
    expected = function.start
    for _ in range(7):
        expected = function(expected, torch.arange(len(expected)))
    assert torch.equal(solution.value, expected)


@each_solver
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_lost_sample_leaves_with_its_start_and_harms_no_other(solver, bad):
    function = Linear(CONTRACTIONS)
    alone = solve(function, function.start, solver=solver, **EXACT)
    calls = 0

    def breaking(z, rows):
        nonlocal calls
        calls += 1
        fz = function(z, rows)
        fz[(rows == 2) & (calls == 3)] = bad
        return fz

    solution = solve(breaking, function.start, solver=solver, **EXACT)
    others = torch.arange(len(CONTRACTIONS)) != 2
    assert solution.iterations[2] == 3
    assert not solution.converged[2]
    assert solution.residual[2].isposinf()
    assert torch.equal(solution.value[2], function.start[2])
    assert solution.converged[others].all()
    torch.testing.assert_close(solution.value[others], alone.value[others], rtol=1e-9, atol=1e-9)


def test_divergence_is_a_value():
    solution = solve(lambda z, rows: 1e9 * z + 1, torch.ones(2, 3), max_iterations=100)
    assert not solution.converged.any()
    assert (solution.iterations < 100).all(), "overflow ends it"


@settings(max_examples=20, deadline=None)
@given(
    order=st.permutations(range(5)),
    solver=st.sampled_from([Picard(), Picard(0.6), Anderson(), Broyden()]),
    seed=st.integers(0, 1000),
)
def test_permuting_the_batch_permutes_the_solution(order, solver, seed):
    function = Linear(CONTRACTIONS[:5], seed=seed)
    permuted = function.take(list(order))
    a = solve(function, function.start, solver=solver, relative_tolerance=1e-6, max_iterations=100)
    b = solve(permuted, permuted.start, solver=solver, relative_tolerance=1e-6, max_iterations=100)
    assert a.iterations[list(order)].tolist() == b.iterations.tolist()
    torch.testing.assert_close(a.value[list(order)], b.value, rtol=1e-9, atol=1e-9)


@settings(max_examples=20, deadline=None)
@given(company=st.lists(st.integers(0, 5)), solver=st.sampled_from([Picard(), Anderson(), Broyden()]))
def test_company_in_the_batch_changes_nothing_for_a_sample(company, solver):
    function = Linear(CONTRACTIONS)
    alone, together = function.take([3]), function.take([*company, 3])
    a = solve(alone, alone.start, solver=solver, relative_tolerance=1e-6, max_iterations=100)
    b = solve(together, together.start, solver=solver, relative_tolerance=1e-6, max_iterations=100)
    assert a.iterations[0] == b.iterations[-1]
    torch.testing.assert_close(a.value[0], b.value[-1], rtol=1e-9, atol=1e-9)


@each_solver
@pytest.mark.parametrize("check_every", [2, 5])
def test_rare_checks_only_let_finished_samples_run_on_until_the_next(solver, check_every):
    function = Linear(CONTRACTIONS)
    often = solve(function, function.start, solver=solver, relative_tolerance=1e-6, max_iterations=500)
    rare = solve(
        function, function.start, solver=solver, relative_tolerance=1e-6, max_iterations=500, check_every=check_every
    )
    assert rare.converged.all()
    assert (rare.iterations % check_every == 0).all()
    assert (rare.iterations >= often.iterations).all()
    if isinstance(solver, Picard):  # whose residual never grows
        assert (rare.iterations < often.iterations + check_every).all()


@each_solver
@pytest.mark.parametrize("shape", [(), (4,), (2, 3, 3)])
def test_states_may_have_any_shape(solver, shape):
    offsets = torch.arange(1.0, 4.0).view(3, *[1] * len(shape)).expand(3, *shape)
    solution = solve(
        lambda z, rows: z / 4 + offsets[rows], torch.zeros(3, *shape), solver=solver, relative_tolerance=1e-5
    )
    assert solution.value.shape == (3, *shape)
    torch.testing.assert_close(solution.value, offsets * 4 / 3, rtol=1e-4, atol=0)
    assert solution.iterations.dtype == torch.int64


@each_solver
def test_half_precision_cells_are_iterated_in_float32(solver):
    weight = 0.3 * torch.eye(6)
    u = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
    seen = set()

    def cell(z, rows):
        seen.add(z.dtype)
        fz = z @ weight + u[rows]
        assert (z @ weight).dtype == torch.bfloat16
        return fz.bfloat16()

    with torch.autocast("cpu", torch.bfloat16):
        solution = solve(cell, torch.zeros(3, 6, dtype=torch.bfloat16), solver=solver, relative_tolerance=1e-2)
    assert seen == {torch.float32}
    assert solution.value.dtype == solution.residual.dtype == torch.float32
    assert solution.converged.all()
    torch.testing.assert_close(solution.value, u / 0.7, rtol=0.03, atol=0.01)


@each_solver
def test_a_cell_in_bfloat16_gets_its_own_type_while_the_iteration_keeps_float32(solver):
    weight = (0.3 * torch.eye(6)).bfloat16()
    u = torch.randn(3, 6, generator=torch.Generator().manual_seed(0)).bfloat16()
    solution = solve(
        lambda z, rows: z @ weight + u[rows], torch.zeros_like(u), solver=solver, relative_tolerance=1e-2
    )  # fmt: skip
    assert solution.value.dtype == torch.bfloat16
    assert solution.residual.dtype == torch.float32
    assert solution.converged.all()
    torch.testing.assert_close(solution.value.float(), u.float() / 0.7, rtol=0.03, atol=0.01)


@pytest.mark.parametrize("solver", [Anderson(), Broyden()], ids=repr)
def test_an_update_is_computed_in_full_precision_under_autocast(solver):
    generator = torch.Generator().manual_seed(0)
    states = [torch.randn(2, 30, generator=generator) for _ in range(8)]
    history = solver.init(*states[:2])
    for z, fz in (states[2:4], states[4:6]):
        _, *history = solver(z, fz, *history)
    expected = solver(*states[6:], *history)
    with torch.autocast("cpu", torch.bfloat16):
        found = solver(*states[6:], *history)
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a, b)


def test_an_empty_batch_is_solved_without_a_call():
    def never(z, rows):
        raise AssertionError("called")

    solution = solve(never, torch.zeros(0, 3))
    assert solution.value.shape == (0, 3)
    assert solution.iterations.shape == solution.residual.shape == solution.converged.shape == (0,)


@pytest.mark.parametrize(
    ("solver", "macs"),
    # Anderson's least squares end in four equations: 9 + 4 + 1 to eliminate, 6 + 6 to substitute.
    [(Anderson(memory=4), (2 * 4 + 4) * 12 + 14 + 12), (Broyden(memory=4), 2 * 2 * 4 * 12)],
)
def test_an_update_is_a_component_of_known_cost_and_runs_through_the_meter(solver, macs):
    function = Linear(CONTRACTIONS)
    component = solver.component((12,))
    assert component_cost(component).macs == macs
    meter = Meter({"update": component}, samples=len(CONTRACTIONS))
    metered = solve(function, function.start, solver=solver, update=partial(meter, "update"), **EXACT)
    assert meter.executions[:, 0].tolist() == (metered.iterations - 1).tolist(), "none after the last evaluation"
    assert torch.equal(metered.value, solve(function, function.start, solver=solver, **EXACT).value)


def test_picard_has_no_cost_to_declare():
    assert Picard().component((12,)) is None


def test_per_sample_stopping_executes_at_most_half_the_rows_of_waiting_for_the_worst():
    comparison = compare(samples=24, channels=4, size=6)
    assert comparison.iterations.min() <= 2
    assert 35 <= comparison.iterations.max() <= 40
    assert comparison.rows_per_sample <= comparison.rows_worst_sample / 2
    assert comparison.largest_difference < 1e-3


@pytest.mark.parametrize(
    "make",
    [
        partial(Picard, damping=0.0),
        partial(Anderson, memory=0),
        partial(Broyden, memory=0),
        partial(solve, lambda z, rows: z, torch.zeros(1, 1), max_iterations=0),
        partial(solve, lambda z, rows: z, torch.zeros(1, 1), check_every=0),
    ],
)
def test_impossible_settings_are_refused(make):
    with pytest.raises(ValueError, match=r"at least 1|must lie in"):
        make()


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@each_solver
def test_devices_agree(solver):
    function = Linear(CONTRACTIONS)
    expected = solve(function, function.start, solver=solver, **EXACT)
    for name in ("matrices", "offsets", "start"):
        setattr(function, name, getattr(function, name).cuda())
    solution = solve(function, function.start, solver=solver, check_every=4, **EXACT)
    assert solution.value.is_cuda
    torch.testing.assert_close(solution.value.cpu(), expected.value, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("kind", [Anderson, Broyden])
def test_a_batch_laid_out_channels_last_is_solved_alike(kind):
    """Histories are kept in the order of memory, which must be one and the same for whatever enters them."""
    torch.manual_seed(0)
    cell = ConvolutionalCell(CONTRACTIONS)
    start = torch.zeros_like(cell.u)
    options: dict[str, Any] = {"relative_tolerance": 1e-9, "max_iterations": 200}
    expected = solve(cell, start, solver=kind(), **options)
    cell.u = cell.u.contiguous(memory_format=torch.channels_last)
    for layout in (torch.contiguous_format, torch.channels_last):
        with torch.no_grad():
            found = solve(cell, start.contiguous(memory_format=layout), solver=kind(), **options)
        assert found.converged.all()
        assert (found.iterations - expected.iterations).abs().max() <= 1
        torch.testing.assert_close(found.value, expected.value, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("kind", [Picard, Anderson, Broyden])
def test_the_start_and_the_gradient_mode_make_no_difference(kind):
    """Without gradients, histories are overwritten and moved in place; what the caller gave is not."""
    # Two samples leave after two evaluations.
    function = Linear(torch.tensor([0.9, 0.0, 0.5, 0.0], dtype=torch.float64))
    start = torch.randn(function.start.shape, dtype=torch.float64)
    expected = solve(function, start, solver=kind(), **EXACT)
    kept = start.clone()
    with torch.no_grad():
        found = solve(function, start, solver=kind(), **EXACT)
    assert torch.equal(start, kept)
    assert torch.equal(found.iterations, expected.iterations)
    torch.testing.assert_close(found.value, expected.value, rtol=1e-10, atol=1e-12)
