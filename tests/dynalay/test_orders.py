"""One order of layers for all samples: which orders there are, which is best, and that the agent keeps to it."""

import itertools
import math

import pytest
import torch

from dynalay import paths
from dynalay.classifier import OperatingPoint
from dynalay.dynalay import DynaLay
from dynalay.meter import Meter
from dynalay.orders import best_order, orders


@pytest.mark.parametrize(("layers", "evaluations", "count"), [(1, 4, 1), (3, 1, 6), (6, 1, 720), (3, 2, 90), (9, 1, 8)])
def test_orders_lead_from_the_empty_path_to_the_full_one_in_single_steps(layers, evaluations, count):
    every = paths.fixed_paths(layers, evaluations)
    found = list(orders(every))
    assert len(set(found)) == len(found) == count
    for order in found:
        chain = [every[index] for index in order]
        assert chain[0] == (0,) * layers
        assert chain[-1] == (evaluations,) * layers
        for before, after in itertools.pairwise(chain):
            assert sorted(more - less for more, less in zip(after, before, strict=True)) == [0] * (layers - 1) + [1]


def test_of_one_layer_there_is_but_one_order_and_no_control():
    every = paths.fixed_paths(1, 3)
    worth: dict[tuple[paths.Path, int], torch.Tensor] = {((0,), 0): torch.zeros(5, 4)}
    assert best_order(worth, torch.zeros(5, 4), every, torch.arange(4.0), [0.1]) is None


def test_the_best_order_is_that_of_a_search_through_all():
    """Outcomes are known to the agent, so an order is worth the best of its plans for each sample."""
    generator = torch.Generator().manual_seed(0)
    every = paths.fixed_paths(3)
    table = torch.tensor(every)
    costs = table.float() @ torch.tensor([1.0, 1.3, 0.7])
    correct = (torch.rand(200, 8, generator=generator) < 0.3 + 0.15 * table.sum(dim=1)).float()
    worth = {(path, layer): correct for path in every for layer in range(3) if path[layer:] == (0,) * (3 - layer)}
    prices = [0.05, 0.2]

    def value(order):
        among = torch.tensor(order)
        return math.fsum((correct[:, among] - price * costs[among]).max(dim=1).values.mean().item() for price in prices)

    assert value(best_order(worth, correct, every, costs, prices)) == pytest.approx(max(map(value, orders(every))))


@pytest.fixture(scope="module")
def model() -> DynaLay:
    torch.manual_seed(0)
    model = DynaLay((1, 6, 6), 3, layers=(1, 2), channels=(4, 6), strides=(1, 2), points=4).eval()
    torch.nn.init.normal_(model.agent.worth.weight)
    with torch.no_grad():  # so that paths answer differently
        for name, parameter in model.network.named_parameters():
            if name.endswith("gain"):
                parameter.fill_(2.0)
    return model


def test_in_one_order_the_agent_evaluates_no_layer_out_of_turn_and_pays_for_every_question(model):
    generator = torch.Generator().manual_seed(1)
    images, labels = torch.randn(60, 1, 6, 6, generator=generator), torch.randint(3, (60,), generator=generator)
    points = [point for point in model.operating_points([(images, labels)]) if point.policy == "one_order"]
    assert len({point.setting for point in points}) == 1
    allowed = {model.plans[index] for index in points[0].setting}
    assert len(allowed) == 4
    free = set()
    for point in points:
        taken = []
        for each in (point, OperatingPoint(point.knob)):
            meter = Meter(model.components(), 60)
            with torch.inference_mode():
                model.classify(images, each, meter)
            cells = [number for number, name in enumerate(meter.components) if name.endswith(".cell")]
            taken.append({tuple(row) for row in meter.executions[:, cells].tolist()})
            assert (meter.executions[:, list(meter.components).index("agent")] > 0).all()
        assert taken[0] <= allowed
        free |= taken[1]
    assert free - allowed, "the free agent has plans of its own"
