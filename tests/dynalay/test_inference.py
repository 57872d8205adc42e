"""Components optimised for inference: the same functions, and never stale."""

import copy

import pytest
import torch
from torch import nn

from baselines.static import Static
from dynalay.cells import CELLS
from dynalay.components import Component
from dynalay.inference import CACHED, InParts, optimised
from dynalay.regularisation import bound_gain
from dynalay.sleeping import KeyedNorm, Transition


def stirred(module):
    """With weights and statistics that make folding visible."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.is_floating_point():
                tensor += 0.3 * torch.rand(tensor.shape, generator=generator)
    return module.eval()


class TwiceUsed(nn.Module):
    """One convolution and one norm, called twice."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2)

    def forward(self, x):
        return self.norm(self.conv(self.norm(self.conv(x))))


class Branching(nn.Module):
    """Its code follows its data, so that only its parts can be traced."""

    def __init__(self):
        super().__init__()
        self.parts = nn.ModuleList(nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)) for _ in range(2))

    def forward(self, x):
        return self.parts[int(x.sum() > 0)](x)


class Before(nn.Module):
    """A norm before its convolution, which must not be folded into it."""

    def __init__(self):
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(2), nn.Conv2d(2, 2, 3, padding=1)

    def forward(self, x):
        return self.conv(self.norm(x))


MODULES = {
    "sequential": nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.ReLU(), nn.Conv2d(4, 2, 1)),
    "twice": TwiceUsed(),
    "branching": Branching(),
    "before": Before(),
}


@pytest.mark.parametrize("name", MODULES)
def test_what_is_optimised_is_the_same_function(name):
    module = stirred(copy.deepcopy(MODULES[name]))
    fast = optimised({"it": Component(module, ((2, 6, 6),))})["it"].module
    for sign in (1, -1):
        images = sign * torch.rand(5, 2, 6, 6)
        torch.testing.assert_close(fast(images), module(images))
    if name in ("sequential", "branching"):
        assert not any(isinstance(part, nn.BatchNorm2d) for part in fast.modules())


@pytest.mark.parametrize("keys", [1, 4])
def test_a_norm_with_keys_is_the_same_function_of_every_row(keys):
    transition = stirred(Transition(2, 4, 2, keys))
    fast = optimised({"it": Component(transition, ((2, 6, 6), ()))})["it"].module
    images, key = torch.randn(9, 2, 6, 6), torch.arange(9) % keys
    torch.testing.assert_close(fast(images, key), transition(images, key))
    assert not any(isinstance(part, KeyedNorm) for part in fast.modules())


@pytest.mark.parametrize("kind", [*CELLS, "bounded"])
def test_cells_are_the_same_functions(kind):
    cell = stirred(bound_gain(CELLS["residual"](8), 0.9) if kind == "bounded" else CELLS[kind](8))
    fast = optimised({"it": Component(cell, ((8, 6, 6),) * 2)})["it"].module
    z, u = torch.randn(2, 3, 8, 6, 6)
    kept = z.clone(), u.clone()
    torch.testing.assert_close(fast(z, u), cell(z, u))
    assert torch.equal(z, kept[0]), "states belong to the caller"
    assert torch.equal(u, kept[1])


def test_a_large_batch_runs_in_parts():
    sizes = []

    class Noting(nn.Module):
        def forward(self, x, y):
            sizes.append(len(x))
            return x + y, x.flatten(1)

    x, y = torch.randn(2, 11, 3, 2)
    total, flat = InParts(Noting(), 4)(x, y)
    assert sizes == [4, 4, 3]
    torch.testing.assert_close(total, x + y)
    torch.testing.assert_close(flat, x.flatten(1))
    sizes.clear()
    InParts(Noting(), 4)(x[:7], y[:7])
    assert sizes == [7], "two parts that fit together are one"
    large = Component(nn.Conv2d(1, 4, 1), ((1, 256, 256),))
    part = optimised({"it": large})["it"].module
    assert part.rows == CACHED // (4 * 256 * 256 * 4)


def test_predictions_follow_every_change_of_the_weights():
    model = stirred(Static((1, 8, 8), 3))
    images = torch.randn(4, 1, 8, 8)
    fixed = model.for_inference()
    first = model.predict(images).logits
    torch.testing.assert_close(fixed.predict(images).logits, first)
    with torch.no_grad():
        next(model.parameters()).mul_(2)
    second = model.predict(images).logits
    assert not torch.allclose(second, first)
    with torch.inference_mode():
        torch.testing.assert_close(second, model(images))
    other = copy.deepcopy(model)
    with torch.no_grad():
        next(other.parameters()).zero_()
    assert not torch.allclose(other.predict(images).logits, second)
    model.load_state_dict(other.state_dict())
    torch.testing.assert_close(model.predict(images).logits, other.predict(images).logits)
    torch.testing.assert_close(fixed.predict(images).logits, first)


def test_another_resolution_costs_what_it_costs_without_optimising():
    model = stirred(Static((1, 8, 8), 3))
    large = torch.randn(2, 1, 12, 16)
    prediction = model.predict(large)
    assert torch.equal(model.for_inference().predict(large).macs, prediction.macs)
