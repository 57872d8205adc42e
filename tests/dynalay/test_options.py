"""An agent's decisions in words and numbers, and what came of what it expected."""

import pytest
import torch

from dynalay import paths
from dynalay.classifier import evaluating
from dynalay.dynalay import DynaLay
from dynalay.gains import gains
from dynalay.meter import Meter
from dynalay.options import first_steps, weighed
from dynalay.outcomes import predicted, record
from dynalay.trace import TracingMeter

PRICE = 0.02


@pytest.fixture(scope="module", params=[((1, 1, 1), 1), ((2,), 2)], ids=["layers", "evaluations"])
def model(request) -> DynaLay:
    """A network with random weights, and an agent that prefers something else in every state."""
    layers, evaluations = request.param
    torch.manual_seed(0)
    channels, strides = (4,) * len(layers), (1,) * len(layers)
    model = DynaLay(
        (1, 8, 8), 3, layers=layers, channels=channels, strides=strides, evaluations=evaluations, agent_samples=64,
        agent_steps=3,
    )  # fmt: skip
    images, labels = torch.randn(64, 1, 8, 8), torch.arange(64) % 3
    with evaluating(model):
        model.settle([(images, labels)], [(images, labels)], torch.Generator().manual_seed(0))
    torch.nn.init.normal_(model.agent.worth.weight, std=0.02)
    return model.eval()


def test_first_steps_of_plans():
    table = paths.table([(0, 0, 0), (1, 0, 1), (0, 0, 2), (1, 1, 0)])
    assert first_steps(table, torch.tensor([[0, 0, 0], [1, 0, 0]])).tolist() == [[0, 1, 3, 1], [0, 3, 3, 2]]


def test_the_best_plan_speaks_for_its_first_step():
    worth = torch.tensor([[0.1, 0.2, 0.5, 0.3]])
    costs = torch.tensor([0.0, 1.0, 9.0, 1.0])
    first = torch.tensor([[0, 1, 1, 2]])
    gain, cost = weighed(worth, torch.tensor([[True, True, True, False]]), first, costs, torch.tensor([0.1]))
    # The third plan is worth more than the second, but too expensive at this price; the last one is not possible.
    assert gain.keys() == cost.keys() == {0, 1}
    assert [gain[step].item() for step in (0, 1)] == pytest.approx([0, 0.1])
    assert [cost[step].item() for step in (0, 1)] == [0, 1]


def test_the_agent_takes_the_step_of_the_largest_gain_less_its_price(model):
    images = torch.randn(40, 1, 8, 8)
    own = next(point for point in model.operating_points([(images, torch.zeros(40, dtype=torch.int64))]))
    for price in (own.knob, PRICE, 1e-4):
        meter = TracingMeter(model.components(), 40, model.component_macs())
        with torch.inference_mode():
            model.classify(images, type(own)(price), meter)
        assert meter.decisions
        for decision in meter.decisions:
            options = [name.removeprefix("gain: ") for name in decision.numbers if name.startswith("gain: ")]
            value = torch.stack(
                [
                    decision.numbers[f"gain: {o}"] - decision.numbers["price"] * decision.numbers[f"cost: {o}"]
                    for o in options
                ]
            ).nan_to_num(-torch.inf)
            chosen = [options.index(decision.choices[choice]) for choice in decision.chosen.tolist()]
            taken = value.gather(0, torch.tensor(chosen)[None]).squeeze(0)
            torch.testing.assert_close(taken, value.amax(dim=0))
            assert decision.seen


def test_gains_are_those_of_the_plans_with_and_without_the_layer(model):
    images, labels = torch.randn(40, 1, 8, 8), torch.arange(40) % 3
    meter = Meter(model.components(), 40)
    outcomes = record(model.network, images, labels, model.plans, meter)
    table = paths.table(model.plans)
    costs = torch.arange(len(model.plans)).float()
    found = gains(model.agent, outcomes, table, costs, [PRICE])
    first = found.layer == 1
    # Everybody is asked in front of the first layer, before anything is evaluated.
    start = [sample for sample in range(40) if (found.sample[first] == sample).any()]
    assert start == list(range(40))
    worth = predicted(model.agent, outcomes.seen)[(0,) * table.shape[1], 0]
    value = worth - PRICE * costs
    for sample in range(40):
        with_it = value[sample].masked_fill(table[:, 0] == 0, -torch.inf).argmax()
        without = value[sample].masked_fill(table[:, 0] > 0, -torch.inf).argmax()
        entry = (first & (found.sample == sample)).nonzero()[0]
        torch.testing.assert_close(found.predicted[entry].squeeze(), worth[sample, with_it] - worth[sample, without])
        assert found.realised[entry] == outcomes.correct[sample, with_it] - outcomes.correct[sample, without]


def test_a_price_that_nobody_pays_leaves_one_decision_at_the_start(model):
    images, labels = torch.randn(10, 1, 8, 8), torch.zeros(10, dtype=torch.int64)
    outcomes = record(model.network, images, labels, model.plans, Meter(model.components(), 10))
    table = paths.table(model.plans)
    costs = table.sum(dim=1).float()
    found = gains(model.agent, outcomes, table, costs, [1e6])
    for layer in found.layer.unique():
        assert found.sample[found.layer == layer].tolist() == list(range(10))
