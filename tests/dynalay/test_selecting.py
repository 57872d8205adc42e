"""Selecting: what the network's loss is, what settling changes, and that an agent which settled chooses."""

import copy
import functools
import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from dynalay.classifier import OperatingPoint, TrainingState
from dynalay.meter import Meter
from dynalay.selecting import PATIENCE, PRICES, Selecting, random_paths, sandwich_loss
from dynalay.sleeping import KeyedNorm

SHAPE, CLASSES = (1, 6, 6), 3


@functools.cache
def _built() -> Selecting:
    torch.manual_seed(0)
    model = Selecting(
        SHAPE, CLASSES, layers=(1, 2), channels=(4, 6), strides=(1, 2), points=3, agent_images=50, agent_steps=5
    )
    model.component_macs()  # counted once, and copied along
    return model


@pytest.fixture
def model() -> Selecting:
    return copy.deepcopy(_built())


def batch(count: int) -> tuple[Tensor, Tensor]:
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(3)), torch.arange(count) % CLASSES


def run(model: Selecting, point: OperatingPoint, count: int = 12) -> tuple[Tensor, Meter]:
    images, _ = batch(count)
    meter = Meter(model.components(), count)
    with torch.inference_mode():
        return model.classify(images, point, meter), meter


def settled(model: Selecting, seed: int = 0) -> tuple[dict[str, Tensor], int]:
    images, labels = batch(80)
    batches = list(zip(images.split(32), labels.split(32), strict=True))
    macs = model.eval().settle(batches, torch.Generator().manual_seed(seed))
    return model.state_dict(), macs


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
    assert sandwich_loss(full, bare, random, labels).item() == pytest.approx(by_hand)


def test_the_full_path_teaches_and_is_not_taught():
    full, bare = torch.randn(4, 3, requires_grad=True), torch.randn(4, 3)
    labels = torch.tensor([0, 1, 2, 0])
    sandwich_loss(full, bare, bare, labels).backward()
    alone = full.detach().clone().requires_grad_(True)
    (functional.cross_entropy(alone, labels) / 2.5).backward()
    torch.testing.assert_close(full.grad, alone.grad)


def test_random_paths_cover_all_and_are_never_empty():
    found = random_paths(4000, 3, torch.Generator().manual_seed(0))
    assert found.any(dim=1).all()
    shares = torch.bincount((found.long() * torch.tensor([1, 2, 4])).sum(dim=1), minlength=8)[1:] / 4000
    # Given p, a path of k layers has p^k (1-p)^(3-k); over uniform p that is 1/4 / (3 choose k), and none is redrawn.
    expected = torch.tensor([1 / 12, 1 / 12, 1 / 12, 1 / 12, 1 / 12, 1 / 12, 1 / 4])[[0, 1, 3, 2, 4, 5, 6]] / 0.75
    torch.testing.assert_close(shares, expected, atol=0.025, rtol=0)


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


def test_settling_pays_for_forks_and_fits(model):
    few, many = copy.deepcopy(model), copy.deepcopy(model)
    few.agent_forks, many.agent_forks = 1, 2
    with_few, with_many = settled(few)[1], settled(many)[1]
    costs = dict(zip(model.components(), model.component_macs().tolist(), strict=True))
    fits = 6 * model.agent_steps * 512 * costs["agent"]
    bare = sum(costs[name] for name in ("stem", "stage1.transition", "stage2.transition", "head"))
    assert with_few > fits + 5 * 50 * bare
    assert with_many - fits > 1.8 * (with_few - fits)


def test_without_price_and_with_all_patience_every_layer_is_evaluated(model):
    logits, meter = run(model.eval(), OperatingPoint(-10.0))
    full, _ = run(model, model.default_point)
    torch.testing.assert_close(logits, full)
    assert [meter.notes[f"action{layer}"].tolist() for layer in (1, 2, 3)] == [[1] * 12, [2] * 12, [3] * 12]


def test_at_a_forbidding_price_the_bare_answer_stands(model):
    logits, meter = run(model.eval(), OperatingPoint(1e6))
    bare, bare_meter = run(model, OperatingPoint(0, "never"))
    torch.testing.assert_close(logits, bare)
    columns = [list(meter.components).index(name) for name in bare_meter.components if "." not in name]
    assert (meter.executions[:, columns[:2]] == bare_meter.executions[:, columns[:2]]).all()
    assert not any(meter.notes[f"action{layer}"].any() for layer in (1, 2, 3))


def test_operating_points_go_from_the_highest_price_to_the_most_patience(model):
    model.controls = False
    knobs = [point.knob for point in model.operating_points([])]
    assert knobs == sorted(knobs, reverse=True)
    assert knobs[0] == PRICES[1]
    assert knobs[2] == pytest.approx(PRICES[0])
    assert knobs[3:] == [-patience for patience in PATIENCE]


def test_agents_and_gains_do_not_take_part_in_the_networks_weight_decay(model):
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert not {id(parameter) for parameter in model.agent.parameters()} & {id(parameter) for parameter in trained}
    norms = [module for module in model.modules() if isinstance(module, KeyedNorm)]
    assert norms
    assert all(parameter.ndim == 1 for norm in norms for parameter in norm.parameters())
