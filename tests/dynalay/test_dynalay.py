"""DynaLay: what the network's loss is, what settling changes, and that an agent which settled chooses."""

import copy
import functools
import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from dynalay.classifier import OperatingPoint, TrainingState
from dynalay.dynalay import DynaLay
from dynalay.meter import Meter
from dynalay.outcomes import record
from dynalay.plans import evenly_spread
from dynalay.sandwich import random_paths, sandwich_loss
from dynalay.sleeping import KeyedNorm

SHAPE, CLASSES = (1, 6, 6), 3


@functools.cache
def _built() -> DynaLay:
    torch.manual_seed(0)
    model = DynaLay(
        SHAPE, CLASSES, layers=(1, 2), channels=(4, 6), strides=(1, 2), points=3, agent_samples=60, agent_steps=5
    )
    with torch.no_grad():  # so that paths answer differently
        for name, parameter in model.network.named_parameters():
            if name.endswith("gain"):
                parameter.fill_(2.0)
    model.component_macs()  # counted once, and copied along
    return model


@pytest.fixture
def model() -> DynaLay:
    return copy.deepcopy(_built())


def batch(count: int) -> tuple[Tensor, Tensor]:
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(3)), torch.arange(count) % CLASSES


def run(model: DynaLay, point: OperatingPoint, count: int = 12) -> tuple[Tensor, Meter]:
    images, _ = batch(count)
    meter = Meter(model.components(), count)
    with torch.inference_mode():
        return model.classify(images, point, meter), meter


def settled(model: DynaLay, seed: int = 0) -> tuple[dict[str, Tensor], int]:
    images, labels = batch(80)
    batches = list(zip(images.split(32), labels.split(32), strict=True))
    macs = model.eval().settle(batches, batches[:1], torch.Generator().manual_seed(seed))
    return model.state_dict(), macs


def test_without_its_looks_an_agent_sees_answers_alone_and_the_network_stays_the_same():
    def built(sees_states: bool) -> DynaLay:
        torch.manual_seed(0)
        return DynaLay(SHAPE, CLASSES, layers=(1, 2), channels=(4, 6), strides=(1, 2), agent_samples=60, agent_steps=5,
                       points=3, sees_states=sees_states).eval()  # fmt: skip

    seeing, blind = built(True), built(False)
    assert seeing.agent.inputs - blind.agent.inputs == 4 + 6
    assert not any("look" in name for name in blind.components())
    for name, tensor in seeing.network.state_dict().items():
        assert torch.equal(tensor, blind.network.state_dict()[name])
    settled(blind)
    images, labels = batch(12)
    points = blind.operating_points([(images, labels)])
    with torch.inference_mode():
        for point, (logits, meter) in zip(points, blind.classify_at(images, points), strict=True):
            really = Meter(blind.components(), 12)
            torch.testing.assert_close(logits, blind.classify(images, point, really))
            assert torch.equal(meter.executions, really.executions)


def test_the_sandwich_loss_by_hand():
    full, bare, random = (torch.tensor([[a, 0.0], [0.0, b]]) for a, b in ((3.0, 1.0), (0.5, -0.5), (2.0, 0.2)))
    labels = torch.tensor([0, 1])

    def softmax(logits: Tensor, temperature: float) -> list[list[float]]:
        rows = [[math.exp(z / temperature) for z in row] for row in logits.tolist()]
        return [[z / sum(row) for z in row] for row in rows]

    def cross_entropy(logits: Tensor) -> float:
        return -sum(math.log(row[label]) for row, label in zip(softmax(logits, 1), labels.tolist(), strict=True)) / 2

    def taught(logits: Tensor) -> float:
        pairs = zip(softmax(full, 2), softmax(logits, 2), strict=True)
        kl = sum(p * math.log(p / q) for ps, qs in pairs for p, q in zip(ps, qs, strict=True)) / 2
        return 0.5 * cross_entropy(logits) + 0.5 * (2**2 / 2) * kl

    by_hand = (cross_entropy(full) + 0.5 * taught(bare) + taught(random)) / 2.5
    assert sandwich_loss(full, bare, [random], labels).item() == pytest.approx(by_hand)


def test_the_full_path_teaches_and_is_not_taught():
    full, bare = torch.randn(4, 3, requires_grad=True), torch.randn(4, 3)
    labels = torch.tensor([0, 1, 2, 0])
    sandwich_loss(full, bare, [bare, bare], labels).backward()
    alone = full.detach().clone().requires_grad_(True)
    (functional.cross_entropy(alone, labels) / 2.5).backward()
    torch.testing.assert_close(full.grad, alone.grad)


def test_without_paths_in_between_the_loss_has_two_terms():
    full, bare, labels = torch.randn(4, 3), torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    several = sandwich_loss(full, bare, [bare, bare], labels)
    alone = sandwich_loss(full, bare, [], labels)
    # (F + 0.5 B + B) / 2.5 and (F + 0.5 B) / 1.5, so that B is the difference of what they were divided by.
    cross_entropy = functional.cross_entropy(full, labels)
    taught = (1.5 * alone - cross_entropy) / 0.5
    torch.testing.assert_close(2.5 * several, cross_entropy + 1.5 * taught)


def test_random_paths_cover_all_and_are_never_empty():
    found = random_paths(4000, 3, 1, torch.Generator().manual_seed(0))
    assert found.any(dim=1).all()
    shares = torch.bincount((found * torch.tensor([1, 2, 4])).sum(dim=1), minlength=8)[1:] / 4000
    # Given p, a path of k layers has p^k (1-p)^(3-k); over uniform p that is 1/4 / (3 choose k), and none is redrawn.
    expected = torch.tensor([1 / 12, 1 / 12, 1 / 12, 1 / 12, 1 / 12, 1 / 12, 1 / 4])[[0, 1, 3, 2, 4, 5, 6]] / 0.75
    torch.testing.assert_close(shares, expected, atol=0.025, rtol=0)


def test_random_paths_evaluate_layers_again():
    found = random_paths(4000, 2, 3, torch.Generator().manual_seed(0))
    assert len(found.unique(dim=0)) == 4**2 - 1


def test_training_shares_the_bare_pass_and_trains_every_norm_that_its_paths_met(model):
    images, labels = batch(32)
    meter = Meter(model.train().components(), 32)
    before = {name: buffer.clone() for name, buffer in model.named_buffers() if "running_mean" in name}
    model.training_loss(images, labels, meter, TrainingState(0.0, torch.Generator().manual_seed(0)))
    column = list(meter.components).index
    assert (meter.executions[:, column("stem")] == 1).all()
    assert (meter.executions[:, column("stage1.transition")] == 1).all()
    assert (meter.executions[:, column("head")] == 3).all()
    assert (meter.executions[:, column("agent")] == 0).all()
    changed = [not torch.equal(buffer, before[name]) for name, buffer in model.named_buffers() if name in before]
    assert all(changed)


def test_settling_fits_the_agent_alone_and_repeats_from_its_stream(model):
    before = {name: each.clone() for name, each in model.state_dict().items()}
    other = copy.deepcopy(model)
    once, macs = settled(model)
    torch.rand(3)
    twice, again = settled(other)
    assert macs == again > 0
    assert all(torch.equal(each, twice[name]) for name, each in once.items())
    changed = {name.partition(".")[0] for name, each in once.items() if not torch.equal(each, before[name])}
    assert changed == {"agent"}
    assert not model.training
    different, _ = settled(copy.deepcopy(_built()), seed=1)
    assert not all(torch.equal(each, different[name]) for name, each in once.items())


def test_settling_pays_for_all_plans_and_the_fit(model):
    few, many = copy.deepcopy(model), copy.deepcopy(model)
    few.agent_samples, many.agent_samples = 50, 100
    with_few, with_many = settled(few)[1], settled(many)[1]
    costs = dict(zip(model.components(), model.component_macs().tolist(), strict=True))
    fit = model.agent_steps * 512 * costs["agent"]
    # Of the eight paths of three layers in two stages, those that begin alike run together.
    plans = costs["stem"] + costs["stage1.transition"] + 2 * costs["stage2.transition"] + 8 * costs["head"]
    plans += costs["layer1.cell"] + 2 * costs["layer2.cell"] + 4 * costs["layer3.cell"]
    answers = 4 * costs["head"]  # the newest ones, that the agent sees; at most
    assert with_few - fit == pytest.approx(50 * (plans + answers / 2), rel=0.1)
    assert with_many - fit == 2 * (with_few - fit)


def test_an_agent_learns_from_what_was_held_out_and_then_from_the_rest_none_of_it_twice(model, monkeypatch):
    recorded: list[list[float]] = []

    def noting(network, images, labels, plans, meter):
        recorded.append(images[:, 0, 0, 0].tolist())
        return record(network, images, labels, plans, meter)

    def marked(*marks: float):
        images, labels = batch(10)
        for mark in marks:
            yield torch.full_like(images, mark), labels

    monkeypatch.setattr("dynalay.dynalay.record", noting)
    for wanted, expected in ((35, [10, 10, 10, 5]), (6000, [10, 10, 10, 10]), (10, [10])):
        recorded.clear()
        model.agent_samples = wanted
        model.eval().settle(marked(3, 4), marked(1, 2), torch.Generator().manual_seed(0))
        assert [len(marks) for marks in recorded] == expected
        assert [marks[0] for marks in recorded] == [1, 2, 3, 4][: len(expected)]


def evaluations(model: DynaLay, meter: Meter) -> Tensor:
    cells = [number for number, name in enumerate(meter.components) if name.endswith(".cell")]
    return meter.executions[:, cells]


def test_a_price_that_pays_for_computing_evaluates_every_layer(model):
    with torch.no_grad():
        model.agent.worth.bias.fill_(0)
    logits, meter = run(model.eval(), OperatingPoint(-1.0))
    torch.testing.assert_close(logits, run(model, model.default_point)[0])
    assert [meter.notes[f"action{number}"].tolist() for number in (1, 2, 3)] == [[1] * 12, [2] * 12, [3] * 12]


def test_at_a_forbidding_price_the_bare_answer_stands(model):
    logits, meter = run(model.eval(), OperatingPoint(1e6))
    bare, bare_meter = run(model, OperatingPoint(0, "never"))
    torch.testing.assert_close(logits, bare)
    assert not evaluations(model, meter).any()
    columns = [list(meter.components).index(name) for name in ("stem", "stage1.transition", "head")]
    assert torch.equal(meter.executions[:, columns], bare_meter.executions[:, columns])
    assert meter.notes["action1"].tolist() == [0] * 12
    assert meter.notes["action2"].tolist() == [-1] * 12


def test_actions_are_the_layers_in_order_and_then_the_answer():
    torch.manual_seed(0)
    model = DynaLay(SHAPE, CLASSES, layers=(1, 1), channels=(4, 4), strides=(1, 2), evaluations=2).eval()
    _, meter = run(model, OperatingPoint(3, "schedule", (1, 2)), 1)
    assert [meter.notes[f"action{number}"].item() for number in (1, 2, 3, 4)] == [1, 2, 2, 0]
    _, meter = run(model, OperatingPoint(3, "schedule", (2, 0)), 1)
    assert [meter.notes[f"action{number}"].item() for number in (1, 2, 3, 4)] == [1, 1, 0, -1]


def test_a_plan_costs_what_following_it_costs(model):
    """The agent is made to want one plan above all; what that cost, the looks and questions included, is metered."""
    model.eval()
    costs = model.component_macs()
    bare = run(model, OperatingPoint(0, "never"), 1)[1].macs(costs)
    for number, plan in enumerate(model.plans):
        with torch.no_grad():
            model.agent.worth.weight.zero_()
            model.agent.worth.bias.zero_()
            model.agent.worth.bias[number] = 1
        _, meter = run(model, OperatingPoint(0.0), 1)
        assert tuple(evaluations(model, meter)[0].tolist()) == plan
        torch.testing.assert_close((meter.macs(costs) - bare)[0] / bare[0], model._costs[number])


def test_the_curves_prices_spread_it_over_its_compute(model):
    """An agent for which more is worth more, at falling returns."""
    model.controls = False
    with torch.no_grad():
        model.agent.worth.weight.zero_()
        model.agent.worth.bias.copy_(0.02 * model._costs.sqrt())
    images, labels = batch(60)
    with torch.no_grad():
        knobs = [point.knob for point in model.eval().operating_points([(images, labels)])]
    assert knobs == sorted(knobs, reverse=True)
    assert 1 < len(set(knobs)) <= model.points
    spent = [evaluations(model, run(model, OperatingPoint(knob), 60)[1]).sum().item() for knob in knobs]
    assert spent == sorted(spent)
    assert spent[0] < spent[-1]


def test_even_steps_are_met_by_the_nearest_price():
    costs = {1.0: 0.0, 0.1: 1.0, 0.05: 4.9, 0.01: 9.0, 0.001: 10.0}
    assert evenly_spread(costs, 3) == [1.0, 0.05, 0.001]
    assert evenly_spread(costs, 1) == [1.0]
    assert evenly_spread({1.0: 2.0, 0.1: 2.0}, 5) == [1.0]


def test_of_one_layer_all_answers_come_from_one_sweep():
    torch.manual_seed(0)
    model = DynaLay(SHAPE, CLASSES, layers=(1,), channels=(4,), strides=(1,), evaluations=3, iterations=2).train()
    images, labels = batch(12)
    meter = Meter(model.components(), 12)
    model.training_loss(images, labels, meter, TrainingState(0.0, torch.Generator().manual_seed(0)))
    executions = dict(zip(meter.components, meter.executions[0].tolist(), strict=True))
    assert executions["layer1.cell"] == 6
    assert executions["head"] == 4


def test_agents_and_gains_do_not_take_part_in_the_networks_weight_decay(model):
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert not {id(parameter) for parameter in model.agent.parameters()} & {id(parameter) for parameter in trained}
    norms = [module for module in model.modules() if isinstance(module, KeyedNorm)]
    assert norms
    assert all(parameter.ndim == 1 for norm in norms for parameter in norm.parameters())
