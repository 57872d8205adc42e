"""The FPI layer, as a library and through a meter."""

from functools import partial

import pytest
import torch
from torch import nn

from dynalay.components import Component, component_costs
from dynalay.fixed_point import Anderson, Picard
from dynalay.fpi import FPILayer
from dynalay.meter import Meter


class Cell(nn.Module):
    """A residual cell whose input also sets how fast it converges: rate = sigmoid(mean of u)."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, padding=1)
        with torch.no_grad():
            self.conv.weight /= 3 * torch.linalg.matrix_norm(self.conv.weight.flatten(1), 2)

    def forward(self, z, u):
        return u.mean(dim=(1, 2, 3), keepdim=True).sigmoid() * self.conv(z) + u


@pytest.fixture
def u():
    generator = torch.Generator().manual_seed(0)
    return torch.linspace(-5, 5, 6).view(-1, 1, 1, 1) + torch.randn(6, 2, 4, 4, generator=generator)


@pytest.fixture
def cell():
    torch.manual_seed(0)
    return Cell()


def test_the_value_is_a_fixed_point_of_the_cell(cell, u):
    layer = FPILayer(cell, relative_tolerance=1e-6)
    with torch.no_grad():
        solution = layer(u)
        assert solution.converged.all()
        torch.testing.assert_close(layer.step(solution.value, u), solution.value, rtol=1e-4, atol=1e-5)


def test_a_start_may_have_another_shape_than_the_input():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.outer = nn.Linear(3, 3), nn.Linear(5, 3)

        def forward(self, z, u):
            return 0.5 * torch.tanh(self.inner(z)) + self.outer(u)

    solution = FPILayer(Recurrent())(torch.ones(4, 5), torch.zeros(4, 3))
    assert solution.value.shape == (4, 3)


def test_a_warm_start_saves_iterations(cell, u):
    layer = FPILayer(cell, relative_tolerance=1e-4)
    with torch.no_grad():
        cold = layer(u)
        warm = layer(u, cold.value)
    assert warm.iterations.tolist() == [1] * len(u)
    assert (cold.iterations > 1).all()


@pytest.mark.parametrize("gradient", ["implicit", "phantom", "unrolled"])
def test_the_cell_and_what_feeds_it_learn(cell, u, gradient):
    stem = nn.Conv2d(2, 2, 1)
    FPILayer(cell, gradient=gradient)(stem(u)).value.square().mean().backward()
    for parameter in (*cell.parameters(), *stem.parameters()):
        assert parameter.grad is not None
        assert parameter.grad.abs().sum() > 0


@pytest.mark.parametrize("solver", [Picard(), Anderson(memory=3)], ids=repr)
@torch.no_grad()
def test_a_meter_counts_what_runs_for_samples_of_a_larger_batch(cell, u, solver):
    layer = FPILayer(cell, solver=solver, relative_tolerance=1e-5)
    components = {"cell": Component(cell, ((2, 4, 4), (2, 4, 4)))}
    if update := solver.component((2, 4, 4)):
        components["update"] = update
    meter = Meter(components, samples=10)
    rows = torch.tensor([8, 1, 3, 0, 9, 4])
    solution = layer(u, rows=rows, run=partial(meter, "cell"), update=update and partial(meter, "update"))
    assert solution.iterations.unique().numel() > 2
    assert meter.executions[rows, 0].tolist() == solution.iterations.tolist()
    assert meter.executions[[2, 5, 6, 7]].sum() == 0
    if update:
        assert meter.executions[rows, 1].tolist() == (solution.iterations - 1).tolist()
    costs = torch.tensor([cost.macs for cost in component_costs(components).values()])
    assert (meter.macs(costs)[rows] > 0).all()
    torch.testing.assert_close(solution.value, layer(u).value)


@torch.no_grad()
def test_samples_left_out_do_not_change_the_others(cell, u):
    layer = FPILayer(cell, relative_tolerance=1e-5)
    everyone, some = layer(u), layer(u[2:5])
    assert everyone.iterations[2:5].tolist() == some.iterations.tolist()
    torch.testing.assert_close(everyone.value[2:5], some.value)
