"""The Jacobian penalty against the true Jacobian, and the gain bound against what cells really do."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from dynalay.components import Component, component_cost
from dynalay.fixed_point import solve
from dynalay.regularisation import bound_gain, jacobian_norm


def test_the_jacobian_norm_is_estimated_for_each_sample():
    torch.manual_seed(0)
    weight = torch.randn(3, 5, 5, dtype=torch.float64)
    z = torch.randn(3, 5, dtype=torch.float64)

    def function(z):
        return torch.tanh((weight @ z.unsqueeze(-1)).squeeze(-1))

    jacobians = torch.stack([torch.autograd.functional.jacobian(function, z)[i, :, i] for i in range(3)])
    exact = jacobians.square().sum(dim=(1, 2)) / 5
    estimate = jacobian_norm(function, z, draws=4000, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(estimate, exact, rtol=0.1, atol=0)


def test_one_draw_is_reproducible_and_trains_a_cell():
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 4, 3, padding=1)
    cell = nn.Sequential(conv, nn.GroupNorm(2, 4), nn.Tanh())
    z = torch.randn(2, 4, 5, 5)
    penalty = jacobian_norm(cell, z, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        again = jacobian_norm(cell, z, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(penalty, again)
    assert not again.requires_grad
    (gradient,) = torch.autograd.grad(penalty.sum(), conv.weight)
    assert gradient.abs().sum() > 0


def test_minimising_the_penalty_makes_a_cell_contract():
    torch.manual_seed(0)
    layer = nn.Linear(6, 6)
    with torch.no_grad():
        layer.weight.copy_(2 * torch.eye(6))
    optimiser = torch.optim.SGD(layer.parameters(), lr=0.5)
    generator = torch.Generator().manual_seed(1)
    for _ in range(50):
        optimiser.zero_grad()
        jacobian_norm(layer, torch.zeros(16, 6), generator=generator).mean().backward()
        optimiser.step()
    assert solve(lambda z, rows: layer(z), torch.zeros(1, 6)).converged


class Cell(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.first = nn.Conv2d(4, 8, 3, padding=1, **options)
        self.second = nn.Conv2d(8, 4, 3, padding=1, **options)

    def forward(self, z, u):
        return u + self.second(torch.relu(self.first(z)))


@pytest.mark.parametrize("options", [{}, {"padding_mode": "circular"}, {"groups": 2}], ids=str)
def test_a_bounded_cell_contracts_in_the_maximum_norm_and_is_always_solved(options):
    torch.manual_seed(0)
    cell = bound_gain(Cell(**options), gain=0.9)
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.mul_(100)  # whatever training does
        u, x, y = 10 * torch.randn(3, 16, 4, 6, 6)
        distance = (cell(x, u) - cell(y, u)).flatten(1).abs().amax(dim=1)
        assert (distance <= 0.81 * (x - y).flatten(1).abs().amax(dim=1) + 1e-4).all()
        solution = solve(lambda z, rows: cell(z, u[rows]), x, relative_tolerance=1e-4, max_iterations=100)
    assert solution.converged.all()


def test_the_bound_is_reached():
    layer = nn.Conv2d(3, 2, 3, bias=False)
    bound_gain(layer, gain=0.5)
    with torch.no_grad():
        worst = layer.weight[0].sign().unsqueeze(0)  # of maximum norm one
        torch.testing.assert_close(layer(worst)[0, 0, 0, 0], torch.tensor(0.5))


def test_weights_within_the_bound_stay_as_they_are():
    layer = nn.Linear(3, 3)
    with torch.no_grad():
        layer.weight.copy_(0.1 * torch.eye(3))
    before = layer.weight.detach().clone()
    bound_gain(layer, gain=0.5)
    assert torch.equal(layer.weight, before)


def test_the_bound_costs_no_macs_and_can_be_made_permanent():
    cell = Cell()
    shapes = ((4, 6, 6), (4, 6, 6))
    plain = component_cost(Component(cell, shapes)).macs
    bound_gain(cell, gain=0.5)
    assert component_cost(Component(cell, shapes)).macs == plain > 0
    z = torch.randn(1, 4, 6, 6)
    bounded = cell(z, z)
    for layer in (cell.first, cell.second):
        parametrize.remove_parametrizations(layer, "weight")
    assert torch.equal(cell(z, z), bounded)


def test_a_gain_must_be_positive():
    with pytest.raises(ValueError, match="above 0"):
        bound_gain(nn.Linear(2, 2), 0.0)
