import copy
import re
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from benchmark.contract.operator_count import operator_macs
from dynalay.components import Component, component_cost, component_costs
from dynalay.operators import FREE, HANDLERS, UncountedOperatorError, is_free


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


class _Function(nn.Module):
    """Any function of one input."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class _Attention(nn.Module):
    """Self-attention over tokens [rows, tokens, width], behind a norm."""

    def __init__(self, width, heads, **options):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attend = nn.MultiheadAttention(width, heads, batch_first=True)
        self.options = options

    def forward(self, x):
        x = self.norm(x)
        return self.attend(x, x, x, **self.options)[0]


class _ImageRows(nn.Module):
    """A recurrent network that reads an image [rows, 1, height, width] from top to bottom."""

    def __init__(self, kind, features, hidden, **options):
        super().__init__()
        self.network = kind(features, hidden, batch_first=True, **options)

    def forward(self, x):
        return self.network(x.squeeze(1))[0][:, -1]


def _of_attention(tokens, width):
    return 4 * tokens * width * width + 2 * tokens * tokens * width


attention = functional.scaled_dot_product_attention

#: Each with its cost by hand.
OPERATORS = {
    "lstm": (_ImageRows(nn.LSTM, 8, 6), (1, 5, 8), 5 * 4 * 6 * (8 + 6)),
    "lstm of two layers": (_ImageRows(nn.LSTM, 8, 6, num_layers=2), (1, 5, 8), 5 * 4 * 6 * (8 + 6 + 6 + 6)),
    "lstm with projection": (_ImageRows(nn.LSTM, 8, 6, proj_size=3), (1, 5, 8), 5 * (4 * 6 * (8 + 3) + 6 * 3)),
    "bidirectional gru": (_ImageRows(nn.GRU, 8, 6, bidirectional=True), (1, 5, 8), 5 * 2 * 3 * 6 * (8 + 6)),
    "rnn": (_ImageRows(nn.RNN, 8, 6), (1, 5, 8), 5 * 6 * (8 + 6)),
    "rnn with relu": (_ImageRows(nn.RNN, 8, 6, nonlinearity="relu"), (1, 5, 8), 5 * 6 * (8 + 6)),
    "attention": (_Attention(16, 4), (5, 16), _of_attention(5, 16) + 5 * 5 * 16),
    "attention, no weights": (_Attention(16, 4, need_weights=False), (5, 16), _of_attention(5, 16) + 5 * 5 * 16),
    "attention, odd heads": (_Attention(15, 3), (5, 15), _of_attention(5, 15) + 5 * 5 * 15),
    "encoder layer": (
        nn.TransformerEncoderLayer(16, 4, 32, batch_first=True),
        (5, 16),
        _of_attention(5, 16) + 2 * 5 * 5 * 16 + 2 * 5 * 16 * 32,
    ),
    "sdpa": (_Function(lambda x: attention(x, x[:, :, :3], x[:, :, :3])), (2, 5, 4), 2 * 5 * 3 * 2 * 4),
    "causal sdpa": (_Function(lambda x: attention(x, x, x, is_causal=True)), (2, 5, 4), 2 * 5 * 5 * 2 * 4),
    "baddbmm": (_Function(lambda x: torch.baddbmm(x[..., :3], x, x.mT[..., :3])), (5, 4), 5 * 4 * 3),
    "addbmm": (_Function(lambda x: torch.addbmm(x[0, :, :3], x, x.mT[..., :3])), (5, 4), 5 * 4 * 3),
    "matrix and vector": (_Function(lambda x: x[0] @ x[0, 0]), (3, 4), 3 * 4),
    "product that broadcasts": (_Function(lambda x: x[0, 0] @ x.mT), (3, 2, 4), 3 * 2 * 4 * 2),
    "einsum": (_Function(lambda x: torch.einsum("bij,bkj->bik", x, x[:, :2])), (5, 4), 5 * 2 * 4),
    "einsum that sums first": (_Function(lambda x: torch.einsum("bij,bk->bk", x, x[:, 0])), (5, 4), 0),
    "outer einsum": (_Function(lambda x: torch.einsum("bi,bj->bij", x, x)), (5,), 0),
    "einsum of one": (_Function(lambda x: torch.einsum("bij->bji", x)), (5, 4), 0),
    "same padding": (nn.Conv2d(2, 3, 3, padding="same"), (2, 6, 5), 6 * 5 * 2 * 3 * 9),
    "grouped convolution": (nn.Conv2d(4, 6, 3, groups=2), (4, 5, 5), 3 * 3 * 6 * 2 * 9),
    "grouped transposed": (nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2), (4, 5, 5), 25 * 4 * 3 * 9),
    "convolution in 1d": (nn.Conv1d(2, 3, 3), (2, 6), 4 * 2 * 3 * 3),
    "convolution in 3d": (nn.Conv3d(2, 3, 3), (2, 4, 4, 4), 8 * 2 * 3 * 27),
    "pooling in 1d": (nn.AdaptiveAvgPool1d(1), (3, 4), 12),
    "pooling in 3d": (nn.AdaptiveAvgPool3d(1), (3, 4, 2, 2), 48),
    "instance norm": (nn.InstanceNorm2d(3, affine=True), (3, 4, 4), 5 * 48),
    "rms norm": (nn.RMSNorm(4), (3, 4), 0),
    "lstm cell": (_Function(nn.LSTMCell(8, 6)), (8,), 4 * 6 * (8 + 6)),
}


@pytest.mark.parametrize(("module", "shape", "macs"), OPERATORS.values(), ids=OPERATORS)
@pytest.mark.parametrize("frozen", [False, True])
def test_sums_of_products_are_counted_whatever_operator_makes_them(module, shape, macs, frozen):
    # Frozen weights and disabled gradients open the way to fused kernels, here of attention.
    module = copy.deepcopy(module).eval().requires_grad_(not frozen)
    assert component_cost(Component(module, (shape,))).macs == macs
    with torch.no_grad():
        assert operator_macs(lambda: module(torch.randn(1, *shape))) == macs
    with torch.inference_mode():
        assert component_cost(Component(module, (shape,))).macs == macs


def test_counting_leaves_the_fused_kernel_of_attention_enabled():
    assert torch.backends.mha.get_fastpath_enabled()
    component_cost(Component(_Attention(16, 4), ((5, 16),)))
    assert torch.backends.mha.get_fastpath_enabled()


class _OwnOperator(torch.autograd.Function):
    """A product that a trace cannot look into."""

    @staticmethod
    def forward(ctx, x):
        return x @ x.mT


@torch.jit.script
def _scripted(x: torch.Tensor) -> torch.Tensor:
    return x @ x.mT if x.sum() >= 0 else x


@pytest.mark.parametrize(
    ("function", "operator"),
    [
        (lambda x: torch.cdist(x, x), "aten::cdist"),
        (lambda x: torch.fft.fft(x).real, "aten::fft_fft"),
        (_OwnOperator.apply, "prim::PythonOp._OwnOperator"),
        (lambda x: _scripted(x), "prim::CallFunction"),
        (lambda x: torch.einsum("bij,bjk,bkl->bil", x, x.mT, x), "einsum 'bij,bjk,bkl->bil' of 3 operands"),
    ],
)
def test_an_operator_that_is_neither_counted_nor_free_stops_the_count_with_its_name(function, operator):
    components = {"stem": Component(nn.Linear(4, 4), ((4,),)), "gate": Component(_Function(function), ((3, 4),))}
    with pytest.raises(UncountedOperatorError, match="component 'gate'") as error:
        component_costs(components)
    assert operator in str(error.value)


def test_a_handler_for_an_operator_of_ones_own_makes_it_countable(monkeypatch):
    component = Component(_Function(_OwnOperator.apply), ((3, 4),))
    monkeypatch.setitem(HANDLERS, "prim::PythonOp._OwnOperator", lambda inputs, outputs: 36)
    assert component_cost(component).macs == 36


def test_no_operator_is_both_counted_and_free():
    assert not [operator for operator in HANDLERS if is_free(operator)]


def test_the_documentation_lists_every_operator_that_is_counted_or_free():
    text = (Path(__file__).parents[2] / "docs" / "compute.md").read_text()
    counted, free = text.split("## ")[1:3]
    assert {name.partition("::")[2] for name in HANDLERS} <= set(re.findall(r"`(\w+)`", counted))
    assert set(re.findall(r"`(\w+)`", free)) >= FREE


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


def test_free_operators_are_reported():
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
