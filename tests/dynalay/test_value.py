"""The value of computation: what forks measure, what the agent learns from them, and where it then evaluates."""

import functools
import math

import pytest
import torch
from torch import Tensor, nn

from dynalay import value
from dynalay.classifier import AdaptiveClassifier
from dynalay.components import Component, component_costs
from dynalay.meter import Meter
from dynalay.selecting import PRICES, Selecting
from dynalay.sleeping import SleepingNetwork, Sweep

#: How often evaluating the layer turns a wrong answer into a right one, by kind of sample.
GAINS = (0.0, 0.15, 1.0)


class _Map(nn.Module):
    """A linear map of the channels, so that it costs something."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weights[:, :, None, None])

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(x, self.weight)


class _Cell(_Map):
    def forward(self, z: Tensor, u: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(z + u)


class _Nothing(nn.Module):
    def forward(self, below: Tensor, key: Tensor) -> Tensor:
        return below


class _Logits(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :2]


def toy() -> SleepingNetwork:
    """One layer. Channels: two logits, what the layer adds to them, and two marks of the kind of sample."""
    network = SleepingNetwork((6, 1, 1), 2, (1,), (6,), (1,), "standardised", "average")
    adds = torch.eye(6)
    adds[0, 2] = adds[1, 3] = 1
    network.stem, network.head = _Map(torch.eye(6)), _Logits()  # type: ignore[assignment]
    network.transitions[0], network.cells[0] = _Nothing(), _Cell(adds)
    return network.eval()


def samples(count: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Images, labels and kinds: the bare answer is wrong throughout, and the layer corrects some."""
    generator = torch.Generator().manual_seed(seed)
    kinds = torch.arange(count) % len(GAINS)
    labels = torch.randint(2, (count,), generator=generator)
    corrected = torch.rand(count, generator=generator) < torch.tensor(GAINS)[kinds]
    sign = torch.where(labels == 1, 1.0, -1.0)
    channels = [sign, -sign, -2 * sign * corrected, 2 * sign * corrected, kinds == 1, kinds == 2]
    return torch.stack([each.float() for each in channels], dim=1)[:, :, None, None], labels, kinds


class Parts:
    """A network, an agent, and what runs both."""

    def __init__(self, network: SleepingNetwork, classes: int) -> None:
        self.network = network
        self.agent = value.ValueAgent(value.seen_numbers(network, classes), len(network.stages))
        self.components = (
            network.components()
            | value.look_components(network)
            | {"agent": Component(self.agent, ((self.agent.inputs,),))}
        )
        costs = component_costs(self.components)
        self.macs = {name: cost.macs for name, cost in costs.items()}
        self.costs = torch.tensor([*self.macs.values()])

    def fork(self, images: Tensor, labels: Tensor, layer: int, greedy: bool, seed: int = 0) -> value.Forks:
        meter = functools.partial(Meter, self.components)
        generator = torch.Generator().manual_seed(seed)
        found, _ = value.fork(
            self.network, images, labels, layer, meter, self.costs, PRICES, greedy, generator
        )  # fmt: skip
        return found


def test_forks_of_a_toy_measure_exactly_what_its_layer_brings_and_costs():
    parts = Parts(toy(), 2)
    images, labels, kinds = samples(300)
    forks = parts.fork(images, labels, 0, greedy=False)
    assert torch.equal(forks.gain[kinds == 0], torch.zeros(100))
    assert torch.equal(forks.gain[kinds == 2], torch.ones(100))
    assert forks.gain[kinds == 1].mean() == pytest.approx(0.15, abs=0.08)
    assert torch.equal(forks.cost, torch.ones(300)), "cell and stem are the same map"


@pytest.mark.parametrize("greedy", [False, True])
def test_forks_are_differences_between_two_paths_of_the_same_sample(greedy):
    torch.manual_seed(0)
    model = Selecting((1, 6, 6), 3, layers=(1, 2), channels=(4, 6), strides=(1, 2))
    parts = Parts(model.network.eval(), 3)
    images, labels = torch.randn(40, 1, 6, 6), torch.arange(40) % 3
    forks = parts.fork(images, labels, 2, greedy)
    seen, layers = parts.agent.seen, 3
    evaluated = forks.seen[:, seen : seen + layers].bool()
    assert torch.equal(forks.seen[:, seen + layers : seen + 2 * layers], torch.tensor([0.0, 0, 1]).expand(40, 3))
    assert len(evaluated.unique(dim=0)) > 1
    right = []
    for last in (True, False):
        paths = evaluated.clone()
        paths[:, 2] = last
        with torch.no_grad():
            logits = Sweep(parts.network, Meter(parts.components, 40), images).follow(paths)
        right.append((logits.argmax(dim=1) == labels).float())
    assert torch.equal(forks.gain, right[0] - right[1])
    bare = sum(parts.macs[name] for name in ("stem", "stage1.transition", "stage2.transition", "head"))
    spent = parts.macs["layer3.cell"] + parts.macs["head"]
    torch.testing.assert_close(forks.cost, torch.full((40,), spent / bare))


def bought(parts: Parts, images: Tensor, price: float, patience: float = 0.0) -> Tensor:
    meter = Meter(parts.components, len(images))
    with torch.no_grad():
        sweep = Sweep(parts.network, meter, bare=parts.network.bare(images, meter))
        sweep.arrive(0)
        return value.decide(value.View.of(sweep), 0, torch.full((len(images),), price), patience)


@pytest.fixture(scope="module")
def fitted() -> Parts:
    torch.manual_seed(0)
    parts = Parts(toy(), 2)
    images, labels, _ = samples(1800)
    forks = parts.fork(images, labels, 0, greedy=False)
    forks.seen[:, 2:4] = 0
    value.standardise(parts.agent, forks)
    value.fit(parts.agent, forks, 400, torch.Generator().manual_seed(0))
    return parts


def hidden(images: Tensor) -> Tensor:
    """Without what the layer would add: the agent is to see the marks of the kind alone."""
    images = images.clone()
    images[:, 2:4] = 0
    return images


def test_a_fitted_agent_evaluates_where_it_pays_at_each_price(fitted):
    images, _, kinds = samples(90, seed=1)
    for price, expected in ((0.29, (0.0, 0.0, 1.0)), (0.05, (0.0, 1.0, 1.0))):
        chosen = bought(fitted, hidden(images), price).float()
        assert tuple(chosen[kinds == kind].mean().item() for kind in range(3)) == expected, price


def test_a_higher_price_never_buys_more(fitted):
    images, _, _ = samples(90, seed=2)
    prices = [PRICES[0] * (PRICES[1] / PRICES[0]) ** (step / 9) for step in range(10)]
    shares = [bought(fitted, hidden(images), price).float().mean().item() for price in prices]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > shares[-1] > 0


def test_patience_leads_up_to_evaluating_everything(fitted):
    images, _, _ = samples(90, seed=3)
    shares = [
        bought(fitted, hidden(images), PRICES[0], patience).float().mean().item() for patience in (0, 0.01, 0.05, 0.5)
    ]
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_the_loss_is_a_weighted_sum_of_both_errors():
    agent = value.ValueAgent(seen=2, layers=1).eval()
    forks = value.Forks(torch.zeros(2, agent.inputs), torch.tensor([1.0, 0.0]), torch.tensor([1.0, 3.0]))
    forks.seen[:, 3] = 1  # the layer in question
    gain, cost = value.PRIOR_GAIN, math.log(2)
    squares = ((gain - 1) ** 2 + gain**2) / 2
    huber = ((1 - cost) ** 2 / 2 + (3 - cost) - 0.5) / 2
    assert value.value_loss(agent, forks).item() == pytest.approx(8 * squares + 0.1 * huber)


def test_a_fit_repeats_from_its_generator_and_leaves_the_global_stream_alone():
    agents = []
    forks = value.Forks(torch.randn(50, 2 + 2 + 2), torch.randn(50).sign(), torch.rand(50))
    for _ in range(2):
        agent = value.ValueAgent(seen=2, layers=1)
        torch.manual_seed(0)
        agent.load_state_dict({key: torch.full_like(each, 0.1) for key, each in agent.state_dict().items()})
        before = torch.get_rng_state()
        value.fit(agent, forks, 5, torch.Generator().manual_seed(3))
        assert torch.equal(torch.get_rng_state(), before)
        assert not agent.training
        assert not any(parameter.requires_grad for parameter in agent.parameters())
        agents.append(torch.cat([parameter.flatten() for parameter in agent.parameters()]))
        torch.rand(7)
    assert torch.equal(*agents)


def test_settling_does_nothing_by_default():
    assert AdaptiveClassifier.settle(nn.Module(), [], torch.Generator()) == 0  # type: ignore[arg-type]
