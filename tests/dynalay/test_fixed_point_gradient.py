"""Gradients of fixed points: against closed forms, finite differences and TorchDEQ; what they cost; autocast."""

import inspect
import weakref
from typing import Any

import pytest
import torch
from torch import nn
from torchdeq import get_deq

from dynalay.fixed_point import SOLVERS, Picard, fixed_point
from timings.memory import make_layer, saved_bytes

EXACT: dict[str, Any] = {"relative_tolerance": 1e-12, "max_iterations": 1000}
CONTRACTIONS = torch.linspace(0.1, 0.95, 5, dtype=torch.float64)

each_gradient = pytest.mark.parametrize("gradient", ["implicit", "phantom", "unrolled"])
each_solver = pytest.mark.parametrize("solver", [kind() for kind in SOLVERS.values()], ids=list(SOLVERS))


def matrices_of_norm(norms, size=4, symmetric=False):
    """One matrix a sample, with these spectral norms."""
    matrices = torch.randn(len(norms), size, size, dtype=norms.dtype, generator=torch.Generator().manual_seed(0))
    if symmetric:
        matrices = matrices @ matrices.mT
    return matrices * (norms / torch.linalg.matrix_norm(matrices, 2))[:, None, None]


def tanh_cell(weight, u):
    """z -> tanh(W_i z + u_i), as a function of active states and rows."""
    return lambda z, rows: torch.tanh((weight[rows] @ z.unsqueeze(-1)).squeeze(-1) + u[rows])


@each_solver
def test_implicit_gradients_of_linear_cells_are_exact_at_every_speed_of_convergence(solver):
    weight = matrices_of_norm(CONTRACTIONS, symmetric=True).requires_grad_()
    u = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    outer = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))

    def linear(z, rows):
        return (weight[rows] @ z.unsqueeze(-1)).squeeze(-1) + u[rows]

    solution = fixed_point(linear, torch.zeros_like(u), solver=solver, **EXACT)
    gradients = torch.autograd.grad((solution.value * outer).sum(), [weight, u])
    exact = torch.linalg.solve(torch.eye(4, dtype=torch.float64) - weight, u)
    expected = torch.autograd.grad((exact * outer).sum(), [weight, u])
    for found, right in zip(gradients, expected, strict=True):
        assert ((found - right).norm() / right.norm()) < 1e-6
        torch.testing.assert_close(found, right, rtol=1e-6, atol=1e-8)


@each_solver
@pytest.mark.parametrize("gradient", ["implicit", "unrolled"])
def test_gradients_of_tanh_cells_agree_with_finite_differences(gradient, solver):
    weight = matrices_of_norm(CONTRACTIONS[::2], size=3).requires_grad_()
    u = torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()

    def value(weight, u):
        start = torch.zeros_like(u)
        return fixed_point(tanh_cell(weight, u), start, gradient=gradient, solver=solver, **EXACT).value

    assert torch.autograd.gradcheck(value, (weight, u), rtol=1e-6, atol=1e-8)


@each_solver
def test_implicit_gradients_of_convolutional_cells_agree_with_torchdeq(solver):
    torch.manual_seed(0)
    conv = nn.Conv2d(2, 2, 3, padding=1, dtype=torch.float64)
    with torch.no_grad():
        conv.weight /= 3 * torch.linalg.matrix_norm(conv.weight.flatten(1), 2)
    gains = CONTRACTIONS.view(-1, 1, 1, 1)
    u = torch.randn(5, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    outer = torch.randn_like(u)
    everything = torch.arange(5)

    def cell(z, rows):
        return torch.tanh(gains[rows] * conv(z) + u[rows])

    deq = get_deq(
        f_solver="anderson", f_stop_mode="rel", f_tol=1e-13, f_max_iter=200,
        b_solver="anderson", b_stop_mode="rel", b_tol=1e-13, b_max_iter=200, ift=True,
    )  # fmt: skip
    (expected,), _ = deq(lambda z: cell(z, everything), torch.zeros_like(u))
    found = fixed_point(cell, torch.zeros_like(u), solver=solver, **EXACT).value
    inputs = [u, *conv.parameters()]
    for a, b in zip(
        torch.autograd.grad((found * outer).sum(), inputs),
        torch.autograd.grad((expected * outer).sum(), inputs),
        strict=True,
    ):
        assert (a - b).norm() / b.norm() < 1e-6


def test_phantom_gradient_is_the_truncated_neumann_series():
    weight = matrices_of_norm(CONTRACTIONS)
    u = torch.ones(5, 4, dtype=torch.float64, requires_grad=True)
    steps, damping = 4, 0.6
    solution = fixed_point(
        lambda z, rows: (weight[rows] @ z.unsqueeze(-1)).squeeze(-1) + u[rows],
        torch.zeros_like(u),
        gradient="phantom", phantom_steps=steps, phantom_damping=damping, **EXACT,
    )  # fmt: skip
    (found,) = torch.autograd.grad(solution.value.sum(), u)
    factor = (1 - damping) * torch.eye(4, dtype=torch.float64) + damping * weight
    series = sum(damping * torch.linalg.matrix_power(factor, power) for power in range(steps))
    torch.testing.assert_close(found, series.sum(dim=1))  # series^T times ones
    exact = torch.linalg.solve(torch.eye(4, dtype=torch.float64) - weight, u)
    torch.testing.assert_close(solution.value, exact, rtol=1e-9, atol=1e-9)


def test_unrolled_gradients_reach_the_start():
    start = torch.ones(2, 1, requires_grad=True)
    gain = torch.tensor([[0.5], [0.0]])
    solution = fixed_point(
        lambda z, rows: gain[rows] * z + 1, start, gradient="unrolled", relative_tolerance=0, max_iterations=3
    )
    (gradient,) = torch.autograd.grad(solution.value.sum(), start)
    assert gradient.flatten().tolist() == [0.125, 0.0]


@each_gradient
def test_all_gradients_are_near_each_other_on_a_strong_contraction(gradient):
    weight = matrices_of_norm(torch.full((3,), 0.2, dtype=torch.float64)).requires_grad_()
    u = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    options = {"phantom_steps": 20, "phantom_damping": 1.0, **EXACT}
    gradients = []
    for kind in ("implicit", gradient):
        value = fixed_point(tanh_cell(weight, u), torch.zeros_like(u), gradient=kind, **options).value
        gradients.append(torch.autograd.grad(value.sum(), [weight, u]))
    torch.testing.assert_close(gradients[0], gradients[1])


@each_gradient
def test_without_gradients_a_fixed_point_is_only_solved(gradient):
    executed = []

    def cell(z, rows):
        executed.extend(rows.tolist())
        return z / 2 + 1

    with torch.no_grad():
        solution = fixed_point(cell, torch.zeros(2, 3), gradient=gradient)
    assert len(executed) == solution.iterations.sum()
    assert not solution.value.requires_grad


@pytest.mark.parametrize(("gradient", "additional"), [("implicit", 1), ("phantom", 3), ("unrolled", 0)])
def test_differentiated_evaluations_are_executed_in_sight_of_the_caller(gradient, additional):
    u = torch.ones(2, 3, requires_grad=True)
    executed = torch.zeros(2, dtype=torch.int64)

    def cell(z, rows):
        executed[rows] += 1
        return torch.tensor([[0.1], [0.8]])[rows] * z + u[rows]

    solution = fixed_point(cell, torch.zeros(2, 3), gradient=gradient, phantom_steps=3)
    solution.value.sum().backward()
    assert executed.tolist() == (solution.iterations + additional).tolist()


class GroupNormCell(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.GroupNorm(2, 4)

    def forward(self, z, u):
        return u + 0.3 * self.second(torch.relu(self.norm(z + self.first(z))))


@pytest.mark.parametrize("gradient", ["implicit", "phantom"])
def test_weights_learn_although_casts_made_without_a_graph_are_cached(gradient, monkeypatch):
    """As autocast does in torch before 2.13; simulated, so that the test can fail on every version."""
    weight = torch.tensor([0.5], requires_grad=True)
    cache: dict[str, torch.Tensor] = {}
    monkeypatch.setattr(torch, "clear_autocast_cache", cache.clear)

    def cell(z, rows):
        return cache.setdefault("weight", weight.bfloat16()).float() * z + 1

    solution = fixed_point(cell, torch.zeros(2, 1), gradient=gradient)
    solution.value.sum().backward()
    assert weight.grad is not None
    assert weight.grad > 1


@each_gradient
def test_gradients_in_half_precision_point_where_the_exact_ones_do(gradient):
    torch.manual_seed(0)
    cell = GroupNormCell()
    u = torch.randn(3, 4, 6, 6, requires_grad=True)
    inputs = [*cell.parameters(), u]

    def gradients():
        options = {"relative_tolerance": 0.0, "max_iterations": 10, "gradient": gradient}
        solution = fixed_point(lambda z, rows: cell(z, u[rows]), torch.zeros_like(u), **options)
        return torch.autograd.grad(solution.value.square().mean(), inputs)

    exact = gradients()
    with torch.autocast("cpu", torch.bfloat16):
        halved = gradients()
    for right, found in zip(exact, halved, strict=True):
        assert torch.cosine_similarity(right.flatten(), found.flatten(), dim=0) > 0.98


@each_gradient
def test_no_differentiated_evaluation_sees_a_constant_in_channels_last(gradient):
    """torch before 2.14 dies in GroupNorm's backward on such an input (on the CPU)."""
    torch.manual_seed(0)
    cell = GroupNormCell().to(memory_format=torch.channels_last)
    u = torch.randn(3, 4, 6, 6).to(memory_format=torch.channels_last)
    seen = []

    def function(z, rows):
        if torch.is_grad_enabled():
            seen.append(z.requires_grad or z.is_contiguous())
        return cell(z, u[rows])

    solution = fixed_point(function, torch.zeros_like(u), gradient=gradient, max_iterations=5)
    solution.value.sum().backward()
    assert seen
    assert all(seen)


@each_solver
@pytest.mark.parametrize("gradient", ["implicit", "phantom"])
def test_memory_does_not_grow_with_iterations(gradient, solver):
    u = torch.randn(4, 16, 8, 8, requires_grad=True)
    few, many = (saved_bytes(make_layer(gradient, iterations, solver), u) for iterations in (4, 64))
    assert 0 < many <= 1.05 * few


def test_memory_of_unrolling_does():
    u = torch.randn(4, 16, 8, 8, requires_grad=True)
    few, many = (saved_bytes(make_layer("unrolled", iterations, Picard()), u) for iterations in (4, 64))
    assert many > 10 * few


def test_the_graph_goes_with_the_solution():
    """A hook that reached its own tensor would keep every batch's graph until the garbage collector runs."""
    seen: list[weakref.ref] = []

    def cell(z, rows):
        fz = z / 2 + u[rows]
        seen.append(weakref.ref(fz))
        return fz

    u = torch.ones(2, 1, requires_grad=True)
    solution = fixed_point(cell, torch.zeros(2, 1), gradient="implicit")
    assert seen[-1]() is not None, "kept for the backward pass"
    del solution
    assert seen[-1]() is None


def test_an_adjoint_that_runs_away_falls_back_to_the_incoming_gradient():
    u = torch.tensor([[1.0], [1.0]], requires_grad=True)
    slope = torch.tensor([[1e30], [0.5]])
    exact = torch.zeros(2, 1)  # a fixed point by construction, which no solver would find
    solution = fixed_point(lambda z, rows: slope[rows] * z + u[rows] - 1, exact, gradient="implicit")
    assert solution.converged[0]
    solution.value.sum().backward()
    torch.testing.assert_close(u.grad, torch.tensor([[1.0], [2.0]]), rtol=1e-3, atol=0)


def test_unknown_gradients_are_refused():
    unchecked = inspect.unwrap(fixed_point)  # users run without the check of types that tests run with
    with pytest.raises(ValueError, match="implicit, phantom, unrolled"):
        unchecked(lambda z, rows: z, torch.zeros(1, 1), gradient="straight-through")
