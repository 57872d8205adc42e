"""A sweep computes what its paths say and counts it, whatever the batch; what it shows is what is newest."""

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
from dynalay.confidence import answer_features, compared_answers
from dynalay.meter import Meter
from dynalay.sleeping import KeyedNorm, SleepingNetwork
from dynalay.sweep import Path, Sweep

SHAPE, CLASSES = (2, 7, 9), 3
#: Three layers in two stages: 1, then 2; each up to twice, by 2 iterations of its cell.
PATHS = list(itertools.product(range(3), repeat=3))


@functools.cache
def _built() -> SleepingNetwork:
    torch.manual_seed(0)
    network = SleepingNetwork(SHAPE, CLASSES, (1, 2), (4, 6), (1, 2), "standardised", "average", 2, 2).eval()
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
def states(network: SleepingNetwork, x: Tensor, path: Path) -> list[Tensor]:
    """What each layer passes on, written out for stages of one layer and two."""

    def transition(stage: int, h: Tensor, key: int) -> Tensor:
        module: Any = network.transitions[stage]
        norm, c = module.norm, module.conv.out_channels
        sets = slice(key * c, (key + 1) * c)
        h = functional.conv2d(functional.relu(h), module.conv.weight, None, module.conv.stride, 1)
        return functional.batch_norm(
            h, norm.running_mean[key], norm.running_var[key], norm.weight[sets], norm.bias[sets]
        )

    found, h = [], network.stem(x)
    for layer, often in enumerate(path):
        u = transition(layer, h, int(path[0] > 0 and layer == 1)) if layer < 2 else h
        h = torch.zeros_like(u) if often else u
        for _ in range(2 * often):
            h = network.cells[layer](h, u)
        found.append(h)
    return found


def directly(network: SleepingNetwork, x: Tensor, path: Path) -> Tensor:
    """The answer of a path."""
    with torch.no_grad():
        answer: Tensor = network.head(states(network, x, path)[-1])
    return answer


def executions(path: Path, after_bare: bool) -> Counter[str]:
    count = Counter({f"layer{layer}.cell": 2 * often for layer, often in enumerate(path, start=1) if often})
    count.update(["stem", "stage1.transition", "stage2.transition", "head"])
    if after_bare:
        # What lies above the first layer awake is run once more.
        count.update(["stage2.transition"] * (path[0] > 0) + ["head"] * any(path))
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
    """All paths in one batch, in a shuffled order; and each sample alone."""
    order = torch.randperm(len(PATHS), generator=torch.Generator().manual_seed(2))
    paths, x = torch.tensor(PATHS)[order], images(len(PATHS))
    logits, meter = swept(network, x, paths, after_bare)
    for row, path in enumerate(map(tuple, paths.tolist())):
        torch.testing.assert_close(logits[row : row + 1], directly(network, x[row : row + 1], path))
        assert counted(meter, row) == executions(path, after_bare)
        alone, alone_meter = swept(network, x[row : row + 1], paths[row : row + 1], after_bare)
        torch.testing.assert_close(alone[0], logits[row])
        assert torch.equal(alone_meter.executions[0], meter.executions[row])


@pytest.mark.parametrize("after_bare", [False, True])
def test_metered_macs_are_those_of_the_operators(network, after_bare):
    costs = torch.tensor([cost.macs for cost in component_costs(network.components()).values()])
    for path in PATHS[::4]:
        meter = Meter(network.components(), 1)

        def run(meter: Meter = meter, path: Path = path) -> Tensor:
            with torch.no_grad():
                bare = network.bare(images(1), meter) if after_bare else None
                return Sweep(network, meter, images(1), bare).follow(torch.tensor([path]))

        assert operator_macs(run) == meter.macs(costs).item(), path


def test_the_answers_to_many_paths_are_those_to_each(network):
    paths = [(0, 0, 0), (0, 1, 0), (1, 0, 2), (0, 1, 1), (2, 1, 1)]
    meter = Meter(network.components(), 5)
    with torch.no_grad():
        answers = Sweep(network, meter, bare=network.bare(images(5), meter)).follow_all(paths)
    assert set(answers) == set(paths)
    for path in paths:
        torch.testing.assert_close(answers[path], directly(network, images(5), path))
    assert counted(meter, 0)["layer1.cell"] == 4, "a beginning that paths share is computed once"


def test_what_is_seen_is_the_newest_of_each_stage_and_the_newest_answer(network):
    """Rows differ: one evaluates nothing, one layer 1, one layers 1 and 2."""
    x, meter = images(3), Meter(network.components(), 3)
    with torch.no_grad():
        sweep = Sweep(network, meter, bare=network.bare(x, meter))
        sweep.look()
        sweep.arrive(0)
        sweep.evaluate(0, torch.tensor([1, 2]))
        sweep.arrive(1)
        sweep.evaluate(1, torch.tensor([2]))
        looked = sweep.look()
    reached = [states(network, x, path) for path in ((0, 0, 0), (1, 0, 0), (1, 1, 0))]
    with torch.no_grad():
        for row, each in enumerate(reached):
            for stage in (0, 1):
                look = network.looks[stage](each[stage][row : row + 1])
                torch.testing.assert_close(looked[stage][row : row + 1], look)
            torch.testing.assert_close(sweep.answer()[row : row + 1], network.head(each[2][row : row + 1]))
    bare = directly(network, x, (0, 0, 0))
    torch.testing.assert_close(looked[-1], compared_answers(sweep.answer(), bare, answer_features(bare)))
    assert not sweep.unseen.any()
    with torch.no_grad():
        sweep.evaluate(1, torch.tensor([2]), again=True)
    assert sweep.unseen.tolist() == [False, False, True]


def test_below_the_last_stage_a_look_computes_no_answer(network):
    x, meter = images(2), Meter(network.components(), 2)
    with torch.no_grad():
        sweep = Sweep(network, meter, bare=network.bare(x, meter))
        sweep.arrive(0)
        sweep.evaluate(0, torch.tensor([0, 1]))
        sweep.look()
    assert counted(meter, 0)["head"] == 1


def test_the_residual_is_that_of_the_last_iteration(network):
    x, meter = images(2), Meter(network.components(), 2)
    with torch.no_grad():
        sweep = Sweep(network, meter, bare=network.bare(x, meter))
        sweep.arrive(0)
        u = sweep.hidden
        sweep.evaluate(0, torch.tensor([1]))
        once = network.cells[0](torch.zeros_like(u), u)
        twice = network.cells[0](once, u)
    assert sweep.residual[0] == 1
    torch.testing.assert_close(sweep.residual[1], (twice - once)[1].norm() / twice[1].norm())


def test_a_sweep_leaves_the_bare_pass_as_it_was(network):
    x, meter = images(4), Meter(network.components(), 4)
    with torch.no_grad():
        bare = network.bare(x, meter)
        before = copy.deepcopy(bare)
        Sweep(network, meter, bare=bare).follow(torch.tensor([(1, 0, 2), (0, 0, 0), (2, 2, 2), (0, 1, 0)]))
    assert torch.equal(bare.logits, before.logits)
    assert all(torch.equal(now, then) for now, then in zip(bare.inputs, before.inputs, strict=True))
