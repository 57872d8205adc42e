"""Layers that sleep: a sweep computes what its path says and counts it, whatever the batch; norms know the path."""

import copy
import functools
import itertools
from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmark.contract.operator_count import operator_macs
from dynalay.components import component_costs
from dynalay.meter import Meter
from dynalay.sleeping import KeyedNorm, SleepingNetwork, Sweep

SHAPE, CLASSES = (2, 7, 9), 3
#: Three layers in two stages: 1, then 2.
PATHS = list(itertools.product((False, True), repeat=3))


@functools.cache
def _built() -> SleepingNetwork:
    torch.manual_seed(0)
    network = SleepingNetwork(SHAPE, CLASSES, (1, 2), (4, 6), (1, 2), "standardised", "average").eval()
    for norm in network.modules():
        if isinstance(norm, KeyedNorm):  # sets that differ
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
            nn.init.normal_(norm.weight, 1, 0.3)
            nn.init.normal_(norm.bias)
    return network


@pytest.fixture
def network() -> SleepingNetwork:
    return copy.deepcopy(_built())


def images(count: int) -> Tensor:
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def directly(network: SleepingNetwork, x: Tensor, path: tuple[bool, ...]) -> Tensor:
    """The answer of a path, written out for stages of one layer and two."""

    def transition(stage: int, h: Tensor, key: int) -> Tensor:
        module: Any = network.transitions[stage]
        norm, c = module.norm, module.conv.out_channels
        sets = slice(key * c, (key + 1) * c)
        h = functional.conv2d(functional.relu(h), module.conv.weight, None, module.conv.stride, 1)
        return functional.batch_norm(
            h, norm.running_mean[key], norm.running_var[key], norm.weight[sets], norm.bias[sets]
        )

    h = transition(0, network.stem(x), 0)
    if path[0]:
        h = network.cells[0](torch.zeros_like(h), h)
    h = transition(1, h, int(path[0]))
    for layer in (1, 2):
        if path[layer]:
            h = network.cells[layer](torch.zeros_like(h), h)
    return network.head(h)


def executions(network: SleepingNetwork, path: tuple[bool, ...], after_bare: bool) -> Counter[str]:
    count = Counter({f"layer{layer}.cell": 1 for layer, awake in enumerate(path, start=1) if awake})
    count.update(["stem", "stage1.transition", "stage2.transition", "head"])
    if after_bare:
        # What lies above the first layer awake is run once more.
        count.update(["stage2.transition"] * path[0] + ["head"] * any(path))
    return count


def swept(network: SleepingNetwork, x: Tensor, paths: Tensor, after_bare: bool) -> tuple[Tensor, Meter]:
    meter = Meter(network.components(), len(x))
    with torch.no_grad():
        bare = network.bare(x, meter) if after_bare else None
        return Sweep(network, meter, x, bare).follow(paths), meter


def counted(meter: Meter, row: int) -> Counter[str]:
    return +Counter(dict(zip(meter.components, meter.executions[row].tolist(), strict=True)))


@pytest.mark.parametrize("after_bare", [False, True])
def test_a_sweep_is_the_direct_computation_of_each_samples_path(network, after_bare):
    """All paths in one batch, each twice, in a shuffled order; and each sample alone."""
    order = torch.randperm(16, generator=torch.Generator().manual_seed(2))
    paths, x = torch.tensor(PATHS * 2)[order], images(16)
    logits, meter = swept(network, x, paths, after_bare)
    for row, path in enumerate(map(tuple, paths.tolist())):
        torch.testing.assert_close(logits[row : row + 1], directly(network, x[row : row + 1], path))
        assert counted(meter, row) == executions(network, path, after_bare)
        alone, alone_meter = swept(network, x[row : row + 1], paths[row : row + 1], after_bare)
        torch.testing.assert_close(alone[0], logits[row])
        assert torch.equal(alone_meter.executions[0], meter.executions[row])


@pytest.mark.parametrize("after_bare", [False, True])
def test_metered_macs_are_those_of_the_operators(network, after_bare):
    costs = torch.tensor([cost.macs for cost in component_costs(network.components()).values()])
    for path in PATHS:
        meter = Meter(network.components(), 1)

        def run(meter: Meter = meter, path: tuple[bool, ...] = path) -> Tensor:
            with torch.no_grad():
                bare = network.bare(images(1), meter) if after_bare else None
                return Sweep(network, meter, images(1), bare).follow(torch.tensor([path]))

        assert operator_macs(run) == meter.macs(costs).item(), path


def test_the_answers_to_many_paths_are_those_to_each(network):
    paths = [(), (2,), (1, 3), (2, 3), (1, 2, 3)]
    meter = Meter(network.components(), 5)
    with torch.no_grad():
        answers = Sweep(network, meter, bare=network.bare(images(5), meter)).follow_all(paths)
    assert set(answers) == set(paths)
    for path in paths:
        expected = directly(network, images(5), tuple(layer in path for layer in (1, 2, 3)))
        torch.testing.assert_close(answers[path], expected)
    assert counted(meter, 0)["layer1.cell"] == 1, "a beginning that paths share is computed once"


def test_a_doubled_sweep_goes_on_from_where_it_was(network):
    before, after = Meter(network.components(), 4), Meter(network.components(), 8)
    with torch.no_grad():
        sweep = Sweep(network, before, bare=network.bare(images(4), before))
        sweep.arrive(0)
        sweep.evaluate(0, torch.tensor([1, 3]))
        both = sweep.twice(after)
        for layer in (1, 2):
            both.arrive(layer)
            both.evaluate(layer, torch.arange(4))  # the first half alone
        logits = both.answer()
    for row in range(8):
        path = (row % 4 in (1, 3), row < 4, row < 4)
        torch.testing.assert_close(logits[row], directly(network, images(4)[row % 4 :][:1], path)[0])


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
    paths = torch.tensor([[True, False, True]] * 8)
    Sweep(network, meter, images(8)).follow(paths).sum().backward()
    reached = network.transitions[1].norm.bias.grad.view(2, -1).abs().sum(dim=1)
    assert reached[0] == 0
    assert reached[1] > 0


@pytest.mark.parametrize(
    ("layers", "channels", "strides"), [((1, 2), (4,), (1, 1)), ((1, 0), (4, 4), (1, 1)), ((1, 1), (4, 4), (1, 0))]
)
def test_stages_that_make_no_network_are_refused(layers, channels, strides):
    with pytest.raises(ValueError, match="layers="):
        SleepingNetwork(SHAPE, CLASSES, layers, channels, strides, "standardised", "average")
