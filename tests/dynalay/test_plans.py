"""Plans: what is recorded of them, what the agent learns from that, and which one it then follows."""

import copy
import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dynalay import plans
from dynalay.components import Component, component_costs
from dynalay.confidence import answer_features, entropy
from dynalay.meter import Meter
from dynalay.outcomes import Outcomes, ends, fit, plan_loss, predicted, record
from dynalay.paths import fixed_paths, table
from dynalay.sleeping import SleepingNetwork
from dynalay.sweep import Path, Sweep

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


class _Marks(nn.Module):
    """A look that shows the marks of the kind alone, not what the layer would add."""

    poolings = 1

    def forward(self, state: Tensor) -> Tensor:
        return state.flatten(1) * torch.tensor([1.0, 1, 0, 0, 1, 1])


def toy() -> SleepingNetwork:
    """One layer. Channels: two logits, what the layer adds to them, and two marks of the kind of sample."""
    network = SleepingNetwork((6, 1, 1), 2, (1,), (6,), (1,), "standardised", "average")
    adds = torch.eye(6)
    adds[0, 2] = adds[1, 3] = 1
    network.stem, network.head = _Map(torch.eye(6)), _Logits()  # type: ignore[assignment]
    network.transitions[0], network.cells[0], network.looks[0] = _Nothing(), _Cell(adds), _Marks()
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
    """A network, its plans, an agent, and what runs them."""

    def __init__(self, network: SleepingNetwork, classes: int) -> None:
        self.network = network
        self.plans = fixed_paths(len(network.stages), network.evaluations)
        self.table = table(self.plans)
        self.agent = plans.PlanAgent(plans.seen_numbers(network, classes), network, self.plans, 16).eval()
        self.components = network.components() | {"agent": Component(self.agent, ((self.agent.inputs,),))}

    def record(self, images: Tensor, labels: Tensor) -> Outcomes:
        return record(self.network, images, labels, self.plans, Meter(self.components, len(images)))


def some(count: int) -> tuple[Tensor, Tensor]:
    return torch.randn(count, 1, 6, 6, generator=torch.Generator().manual_seed(3)), torch.arange(count) % 3


@pytest.fixture
def trunk() -> Parts:
    """Three layers in two stages, each up to twice."""
    torch.manual_seed(0)
    parts = Parts(SleepingNetwork((1, 6, 6), 3, (1, 2), (4, 6), (1, 2), "standardised", "average", 2).eval(), 3)
    nn.init.normal_(parts.agent.worth.weight, std=3)
    for parameter in parts.network.head.parameters():
        nn.init.normal_(parameter, std=3)  # so that what it sees differs
    seen = torch.cat(list(parts.record(*some(40)).seen.values()))[:, : parts.agent.seen]
    parts.agent.mean.copy_(seen.mean(dim=0))
    parts.agent.std.copy_(seen.std(dim=0).clamp_min(0.05))
    return parts


def test_recorded_outcomes_are_those_of_each_path_run_alone(trunk):
    images, labels = some(20)
    outcomes = trunk.record(images, labels)
    for number, plan in enumerate(trunk.plans):
        with torch.no_grad():
            logits = Sweep(trunk.network, Meter(trunk.components, 20), images).follow(table([plan] * 20))
        torch.testing.assert_close(outcomes.logits[:, number], logits)
    right = outcomes.logits.argmax(dim=2) == labels[:, None]
    assert torch.equal(outcomes.correct, right.float())


def test_what_is_recorded_as_seen_is_what_a_sweep_shows_when_it_asks(trunk):
    """Follow every plan, and compare what is seen on the way, row by row, with the recording."""
    images, labels = some(6)
    outcomes = trunk.record(images, labels)
    met: set[tuple[Path, int]] = set()
    for plan in trunk.plans:

        def follow(sweep: Sweep, layer: int, rows: Tensor, plan: Path = plan) -> Tensor:
            state = (tuple(sweep.evaluated[rows[0]].tolist()), layer)
            seen = plans.see(sweep, layer, rows)
            if state in outcomes.seen:  # where there is something left to choose
                met.add(state)
                torch.testing.assert_close(seen, outcomes.seen[state][rows])
            return torch.full_like(rows, trunk.plans.index(plan))

        meter = Meter(trunk.components, 6)
        with torch.no_grad():
            bare = trunk.network.bare(images, meter)
            plans.go(Sweep(trunk.network, meter, bare=bare), trunk.table, follow)
    assert met == set(outcomes.seen)


def chosen(parts: Parts, images: Tensor, costs: Tensor, price: float) -> tuple[Tensor, Meter]:
    meter = Meter(parts.components, len(images))
    with torch.no_grad():
        sweep = Sweep(parts.network, meter, bare=parts.network.bare(images, meter))
        choice = plans.agents_choice(parts.table, costs, torch.full((len(images),), price), slice(None))
        plans.go(sweep, parts.table, choice)
    return sweep.evaluated, meter


@pytest.mark.parametrize("price", [0.0, 0.003, 0.03, 1.0])
def test_where_the_agent_ends_can_be_read_off_what_was_recorded(trunk, price):
    images, labels = some(40)
    costs = trunk.table.sum(dim=1).float()
    reached = ends(predicted(trunk.agent, trunk.record(images, labels).seen), trunk.table, costs, price)
    evaluated, _ = chosen(trunk, images, costs, price)
    assert torch.equal(trunk.table[reached], evaluated)


def test_in_every_state_a_higher_price_never_buys_more(trunk):
    images, labels = some(30)
    costs = trunk.table.sum(dim=1).float()
    worth = predicted(trunk.agent, trunk.record(images, labels).seen)
    for (path, layer), expected in worth.items():
        open_ = plans.possible(trunk.table, torch.tensor([path]), layer).expand(30, -1)
        bought = [
            costs[plans.best(expected, open_, costs, torch.tensor(price))] for price in (0.0, 0.001, 0.01, 0.1, 9.0)
        ]
        assert all((lower >= higher).all() for lower, higher in itertools.pairwise(bought))
        assert (bought[-1] == path[layer] + sum(path[:layer])).all(), "at a forbidding price it goes no further"


def test_the_agent_is_asked_only_where_something_new_was_computed(trunk):
    images, _ = some(40)
    evaluated, meter = chosen(trunk, images, trunk.table.sum(dim=1).float(), 0.003)
    asked = meter.executions[:, list(meter.components).index("agent")]
    # At first; after each evaluation, but the last there can be; and at the second stage, if the first was awake.
    top = evaluated[:, 2] == 2
    expected = 1 + evaluated.sum(dim=1) - top.long()
    arrives = (evaluated[:, 0] > 0) & (evaluated[:, 0] < 2)
    full_first = evaluated[:, 0] == 2
    assert (asked[~arrives & ~full_first] == expected[~arrives & ~full_first]).all()
    assert (asked[arrives] == expected[arrives] + 1).all()
    assert (asked[full_first] == expected[full_first]).all()
    assert len(evaluated.unique(dim=0)) > 2


def test_possible_plans_agree_with_what_was_done_and_go_on_from_there():
    every = fixed_paths(2, 2)
    found = plans.possible(table(every), torch.tensor([[1, 1], [2, 0]]), layer=1)
    assert [plan for plan, yes in zip(every, found[0].tolist(), strict=True) if yes] == [(1, 1), (1, 2)]
    assert {plan for plan, yes in zip(every, found[1].tolist(), strict=True) if yes} == {(2, 0), (2, 1), (2, 2)}


def test_the_loss_is_the_mean_squared_error_of_centred_worth():
    worth, correct = torch.tensor([[0.5, 0.1, 9.0]]), torch.tensor([[1.0, 0.0, 1.0]])
    open_ = torch.tensor([[True, True, False]])
    # Centred: worth +-0.2, outcomes +-0.5.
    assert plan_loss(worth, correct, open_).item() == pytest.approx(8 * 0.3**2)
    assert plan_loss(worth + 3, correct, open_).item() == pytest.approx(8 * 0.3**2), "only differences count"


@pytest.fixture(scope="module")
def fitted() -> Parts:
    torch.manual_seed(0)
    parts = Parts(toy(), 2)
    images, labels, _ = samples(1800)
    fit(parts.agent, parts.record(images, labels), parts.table, 400, torch.Generator().manual_seed(0))
    return parts


def test_a_fitted_agent_evaluates_where_it_pays_at_each_price(fitted):
    images, _, kinds = samples(90, seed=1)
    costs = torch.tensor([0.0, 1.0])
    for price, expected in ((0.4, (0.0, 0.0, 1.0)), (0.07, (0.0, 1.0, 1.0))):
        evaluated = chosen(fitted, images, costs, price)[0].float()[:, 0]
        assert tuple(evaluated[kinds == kind].mean().item() for kind in range(3)) == expected, price


def test_an_agent_that_sees_nothing_follows_the_best_fixed_path():
    """What the fit starts from is the mean worth of each plan."""
    parts = Parts(toy(), 2)
    images, labels, _ = samples(300)
    outcomes = parts.record(images, labels)
    fit(parts.agent, outcomes, parts.table, 2, torch.Generator().manual_seed(0))
    gain = (outcomes.correct[:, 1] - outcomes.correct[:, 0]).mean().item()
    for price, expected in ((gain - 0.05, 1), (gain + 0.05, 0)):
        assert chosen(parts, images, torch.tensor([0.0, 1.0]), price)[0].float().mean() == expected


def test_a_fit_repeats_from_its_generator_and_leaves_the_global_stream_alone():
    found = []
    parts = Parts(toy(), 2)
    images, labels, _ = samples(60)
    outcomes = parts.record(images, labels)
    for _ in range(2):
        agent = copy.deepcopy(parts.agent)
        before = torch.get_rng_state()
        fit(agent, outcomes, parts.table, 5, torch.Generator().manual_seed(3))
        assert torch.equal(torch.get_rng_state(), before)
        assert not agent.training
        assert not any(parameter.requires_grad for parameter in agent.parameters())
        found.append(torch.cat([parameter.flatten() for parameter in agent.parameters()]))
        torch.rand(7)
    assert torch.equal(*found)


def test_the_answers_features_are_what_they_say():
    logits = torch.tensor([[2.0, 0.0, -1.0]])
    probability = logits.softmax(dim=1)
    expected: list[Any] = [
        probability[0, 0], entropy(logits)[0], probability[0, 0] - probability[0, 1], *probability[0], *logits[0] / 4
    ]  # fmt: skip
    torch.testing.assert_close(answer_features(logits)[0], torch.stack(expected))


def test_components_of_a_toy_are_counted():
    parts = Parts(toy(), 2)
    assert component_costs(parts.components)["agent"].macs == parts.agent.inputs * 16 + 16 * 16 + 16 * 2
