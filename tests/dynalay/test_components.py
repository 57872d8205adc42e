import pytest
import torch
from torch import nn

from dynalay.components import Component, component_cost, component_costs
from tests.operator_count import operator_macs


@pytest.mark.parametrize(
    ("module", "shape", "macs"),
    [
        (nn.Linear(4, 3), (4,), 4 * 3),
        (nn.Linear(4, 3, bias=False), (5, 4), 5 * 4 * 3),
        (nn.Conv2d(4, 6, 3, padding=1), (4, 8, 8), 8 * 8 * 6 * 4 * 9),
        (nn.Conv2d(4, 6, 3, stride=2, groups=2), (4, 8, 8), 3 * 3 * 6 * 2 * 9),
        (nn.ConvTranspose2d(3, 5, 2, stride=2), (3, 4, 4), 4 * 4 * 3 * 5 * 4),
        (nn.BatchNorm2d(3), (3, 4, 4), 2 * 48),
        (nn.BatchNorm2d(3, affine=False), (3, 4, 4), 48),
        (nn.GroupNorm(2, 4), (4, 4, 4), 5 * 64),
        (nn.GroupNorm(2, 4, affine=False), (4, 4, 4), 4 * 64),
        (nn.LayerNorm(5), (3, 5), 5 * 15),
        (nn.LayerNorm(5, elementwise_affine=False), (3, 5), 4 * 15),
        (nn.AdaptiveAvgPool2d(1), (3, 4, 4), 48),
        (nn.AdaptiveAvgPool2d(2), (3, 5, 5), 75),
        (nn.GRUCell(5, 7), (5,), 3 * 7 * (5 + 7)),
        (nn.Sequential(nn.ReLU(), nn.Flatten()), (3, 4, 4), 0),
    ],
    ids=lambda value: str(value) if isinstance(value, nn.Module) else "",
)
def test_cost_follows_the_published_convention_and_agrees_with_the_operators_that_run(module, shape, macs):
    assert component_cost(Component(module, (shape,))).macs == macs
    with torch.no_grad():
        assert operator_macs(lambda: module.eval()(torch.randn(1, *shape))) == macs


class _HardGate(nn.Module):
    """Its decision is the only thing that its layer feeds."""

    def __init__(self):
        super().__init__()
        self.gate = nn.Linear(4, 1)

    def forward(self, x):
        return x if self.gate(x).sum() > 0 else 2 * x


def test_a_decision_that_is_not_returned_would_cost_nothing():
    # The reason for standalone components that return what matters, and for counting gates as components of their own.
    assert component_cost(Component(_HardGate(), ((4,),))).macs == 0
    assert component_cost(Component(_HardGate().gate, ((4,),))).macs == 4


def test_operators_without_a_handler_are_reported():
    cost = component_cost(Component(nn.Sequential(nn.Linear(4, 4), nn.Softmax(dim=1)), ((4,),)))
    assert cost.macs == 16
    assert cost.uncounted == {"aten::softmax": 1}


def test_counting_leaves_the_module_alone():
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).double().train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    component_cost(Component(module, ((1, 8, 8),)))
    assert module.training
    assert all(submodule.training for submodule in module)
    for name, value in module.state_dict().items():
        assert value.dtype == before[name].dtype
        assert torch.equal(value, before[name])


def test_training_and_inference_modules_cost_the_same():
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    component = Component(module, ((1, 8, 8),))
    assert component_cost(Component(module.train(), component.input_shapes)) == component_cost(
        Component(module.eval(), component.input_shapes)
    )


def test_costs_keep_the_order_of_the_components():
    components = {name: Component(nn.Linear(width, 1), ((width,),)) for name, width in (("b", 2), ("a", 3))}
    costs = component_costs(components)
    assert [(name, cost.macs) for name, cost in costs.items()] == [("b", 2), ("a", 3)]


def test_components_with_several_inputs():
    assert component_cost(Component(nn.GRUCell(5, 7), ((5,), (7,)))).macs == 3 * 7 * (5 + 7)
