"""Cells: one function for every sample, at a cost that does not depend on how their kernels are made."""

import math

import pytest
import torch

from benchmark.contract.operator_count import operator_macs
from dynalay.cells import CELLS, ResidualCell, StandardisedConv2d
from dynalay.components import Component, component_cost


@pytest.fixture(params=CELLS)
def cell(request):
    torch.manual_seed(0)
    return CELLS[request.param](16)


def test_a_sample_is_treated_alike_in_any_company(cell):
    z, u = torch.randn(2, 4, 16, 5, 5)
    torch.testing.assert_close(cell(z, u)[1:2], cell(z[1:2], u[1:2]))
    torch.testing.assert_close(cell.train()(z, u), cell.eval()(z, u))


def test_the_cost_is_that_of_the_operators_that_run(cell):
    component = Component(cell.eval(), ((16, 5, 5), (16, 5, 5)))
    z, u = torch.randn(2, 1, 16, 5, 5)
    assert component_cost(component).macs == operator_macs(lambda: cell(z, u))


@pytest.mark.parametrize("name", ["residual", "standardised"])
def test_it_begins_as_a_contraction(name):
    torch.manual_seed(0)
    cell = CELLS[name](16)
    a, b, u = torch.randn(3, 64, 16, 8, 8)
    with torch.no_grad():
        moved = (cell(a, u) - cell(b, u)).flatten(1).norm(dim=1) / (a - b).flatten(1).norm(dim=1)
    assert moved.max() < 0.5


def kernel(conv):
    """What the convolution multiplies with: its answer to single impulses, bias taken off."""
    impulses = torch.zeros(16, 16, 3, 3, dtype=torch.float64)
    impulses[range(16), range(16), 1, 1] = 1
    return (conv(impulses) - conv(torch.zeros_like(impulses))).flip(2, 3).transpose(0, 1)


def test_standardised_kernels_have_the_mean_and_variance_that_they_should():
    torch.manual_seed(0)
    conv = StandardisedConv2d(16).double()
    with torch.no_grad():
        conv.weight.add_(3).mul_(torch.linspace(1, 10, 16).view(-1, 1, 1, 1))
        conv.gain.copy_(torch.linspace(0.5, 2, 16))
        found = kernel(conv)
    expected = conv.gain**2 * 2 / (1 - 1 / math.pi) / (16 * 9)
    torch.testing.assert_close(found.mean(dim=(1, 2, 3)), torch.zeros(16, dtype=torch.float64))
    torch.testing.assert_close(found.var(dim=(1, 2, 3), correction=0), expected, rtol=1e-3, atol=0)


def test_the_gain_keeps_the_variance_of_a_relus_output():
    torch.manual_seed(0)
    conv = StandardisedConv2d(64)
    x = torch.randn(64, 64, 12, 12)
    with torch.no_grad():
        output = (conv(x.relu()) - conv(torch.zeros_like(x)))[:, :, 1:-1, 1:-1]
    assert output.var().item() == pytest.approx(1, abs=0.1)


def test_gradients_of_standardised_kernels_agree_with_finite_differences():
    torch.manual_seed(0)
    conv = StandardisedConv2d(2, 0.3).double()
    x = torch.randn(2, 2, 4, 4, dtype=torch.float64)

    names = [name for name, _ in conv.named_parameters()]

    def function(*parameters):
        return torch.func.functional_call(conv, dict(zip(names, parameters, strict=True)), (x,))

    torch.autograd.gradcheck(function, tuple(conv.parameters()))


def test_weight_decay_leaves_the_gain_alone():
    cell = ResidualCell(4)
    decayed = {name for name, parameter in cell.named_parameters() if parameter.ndim >= 2}
    assert decayed == {"conv1.weight", "conv2.weight"}
