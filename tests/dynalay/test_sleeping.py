"""Sleeping layers: norms that know what is awake below, looks, and which networks can be built."""

import pytest
import torch
from torch import nn

from dynalay.meter import Meter
from dynalay.sleeping import KeyedNorm, Look, SleepingNetwork
from dynalay.sweep import Sweep

SHAPE, CLASSES = (2, 7, 9), 3


@pytest.fixture
def network() -> SleepingNetwork:
    torch.manual_seed(0)
    return SleepingNetwork(SHAPE, CLASSES, (1, 2), (4, 6), (1, 2), "standardised", "average")


def images(count: int) -> torch.Tensor:
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("pool", ["average", "maximum"])
def test_a_look_is_what_the_head_pools_and_always_the_mean(pool):
    state = torch.tensor([[[[1.0, -3.0], [2.0, 5.0]], [[-1.0, -1.0], [-2.0, -4.0]]]])
    means, maxima = [2.0, 0.0], [5.0, 0.0]
    assert Look(pool)(state).tolist() == [means if pool == "average" else means + maxima]


@pytest.mark.parametrize("training", [True, False])
def test_a_norm_treats_each_key_as_a_batch_norm_of_its_own(training):
    torch.manual_seed(0)
    norm = KeyedNorm(3, 4).train(training)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    norm.running_mean.normal_()
    apart = []
    for number in range(4):
        each = nn.BatchNorm2d(3).train(training)
        each.load_state_dict(
            {"weight": norm.weight.view(4, 3)[number], "bias": norm.bias.view(4, 3)[number],
             "running_mean": norm.running_mean[number], "running_var": norm.running_var[number]},
            strict=False,
        )  # fmt: skip
        apart.append(each)
    x, key = torch.randn(12, 3, 5, 5), torch.tensor([0, 2, 2, 0, 3, 3, 3, 0, 2, 0, 3, 2])
    found = norm(x, key)
    for number, each in enumerate(apart):
        of_key = key == number
        if of_key.any():
            torch.testing.assert_close(found[of_key], each(x[of_key]))
        torch.testing.assert_close(norm.running_mean[number], each.running_mean)
        torch.testing.assert_close(norm.running_var[number], each.running_var, msg=f"statistics of key {number}")


def test_gradients_reach_only_the_sets_of_the_paths_that_were_taken(network):
    network.train()
    meter = Meter(network.components(), 8)
    Sweep(network, meter, images(8)).follow(torch.tensor([[1, 0, 1]] * 8)).sum().backward()
    reached = network.transitions[1].norm.bias.grad.view(2, -1).abs().sum(dim=1)
    assert reached[0] == 0
    assert reached[1] > 0


@pytest.mark.parametrize(
    ("layers", "channels", "strides"), [((1, 2), (4,), (1, 1)), ((1, 0), (4, 4), (1, 1)), ((1, 1), (4, 4), (1, 0))]
)
def test_stages_that_make_no_network_are_refused(layers, channels, strides):
    with pytest.raises(ValueError, match="layers="):
        SleepingNetwork(SHAPE, CLASSES, layers, channels, strides, "standardised", "average")


@pytest.mark.parametrize(("evaluations", "iterations"), [(0, 1), (1, 0)])
def test_a_layer_that_can_never_be_evaluated_is_refused(evaluations, iterations):
    with pytest.raises(ValueError, match=f"evaluations={evaluations}, iterations={iterations}"):
        SleepingNetwork(SHAPE, CLASSES, (1,), (4,), (1,), "standardised", "average", evaluations, iterations)
