import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from baselines.branchynet import BranchyNet, entropy, search_thresholds
from dynalay.classifier import OperatingPoint, TrainingState
from dynalay.meter import Meter

SHAPE = (2, 9, 9)


def _model(**parameters) -> BranchyNet:
    torch.manual_seed(0)
    return BranchyNet(SHAPE, 4, depth=14, channels=(4, 6, 8), **parameters).eval()


def _images(count: int, seed: int = 1) -> Tensor:
    return 3 * torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(seed))


def _classify(model: BranchyNet, images: Tensor, thresholds: tuple[float, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, executions and MACs of each sample."""
    meter = Meter(model.components(), len(images))
    with torch.no_grad():
        logits = model.classify(images, OperatingPoint(math.nan, setting=thresholds), meter)
    return logits, meter.executions, meter.macs(model.component_macs())


@torch.no_grad()
def _exits(model: BranchyNet, image: Tensor) -> list[Tensor]:
    """Logits of every exit for one sample, from the modules themselves."""
    features, logits = image[None], []
    for segment, branch in itertools.zip_longest(model.segments, model.branches):
        features = segment(features)
        logits.append((branch or model.head)(features)[0])
    return logits


def test_entropy_is_that_of_the_softmax():
    probabilities = torch.tensor([[0.25] * 4, [1.0, 0, 0, 0], [0.5, 0.5, 0, 0]])
    expected = torch.tensor([math.log(4), 0.0, math.log(2)])
    torch.testing.assert_close(entropy((probabilities + 1e-12).log()), expected)


def test_all_points_are_decided_from_one_run_of_the_network():
    """Whatever their number; each component sees the batch once, as many rows as it has images."""
    model, images = _model(), _images(24)
    with torch.no_grad():
        entropies = torch.stack([torch.stack([entropy(e) for e in _exits(model, image)[:-1]]) for image in images])
    levels = torch.linspace(0.05, 0.95, 9)
    settings = [tuple(row.tolist()) for row in entropies.quantile(levels, dim=0)]
    settings += [(0.0,) * 3, (math.inf,) * 3, (0.0, settings[4][1], 0.0)]
    seen: list[int] = []
    handles = [
        component.module.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
        for component in model.components().values()
    ]
    with torch.no_grad():
        together = list(model.classify_at(images, [OperatingPoint(math.nan, setting=s) for s in settings]))
    for handle in handles:
        handle.remove()
    assert seen == [24] * len(model.components())
    for thresholds, (logits, meter) in zip(settings, together, strict=True):
        alone, executions, macs = _classify(model, images, thresholds)
        assert torch.equal(meter.executions, executions), thresholds
        assert torch.equal(meter.macs(model.component_macs()), macs), thresholds
        assert torch.equal(logits.argmax(dim=1), alone.argmax(dim=1)), thresholds
        torch.testing.assert_close(logits, alone)


def test_a_sample_leaves_at_the_first_exit_that_is_certain_enough():
    model, images = _model(), _images(24)
    names = list(model.components())
    exits = [_exits(model, image) for image in images]
    entropies = torch.stack([torch.stack([entropy(logits) for logits in sample[:-1]]) for sample in exits])
    thresholds = tuple(entropies.median(dim=0).values.add(1e-4).tolist())
    logits, executions, _ = _classify(model, images, thresholds)
    taken = []
    for row, sample in enumerate(exits):
        exit_ = next((n for n in range(3) if entropies[row, n] < thresholds[n]), 3)
        taken.append(exit_)
        torch.testing.assert_close(logits[row], sample[exit_])
        expected = {f"segment{n + 1}" for n in range(exit_ + 1)} | {f"exit{n + 1}" for n in range(min(exit_ + 1, 3))}
        expected |= {"head"} if exit_ == 3 else set()
        ran = {name for name, times in zip(names, executions[row].tolist(), strict=True) if times}
        assert ran == expected
    assert set(taken) == {0, 1, 2, 3}


def test_an_exit_that_cannot_be_taken_is_not_run():
    model, images = _model(), _images(4)
    logits, executions, _ = _classify(model, images, (0.0, 0.0, 0.0))
    ran = dict(zip(model.components(), executions[0].tolist(), strict=True))
    assert all(times == (0 if name.startswith("exit") else 1) for name, times in ran.items())
    torch.testing.assert_close(logits[0], _exits(model, images[0])[-1])


def test_the_loss_is_the_weighted_sum_over_all_exits():
    model, images, labels = _model(exit_weight=0.25), _images(5), torch.tensor([0, 1, 2, 3, 0])
    meter = Meter(model.components(), 5)
    with torch.no_grad():
        loss, logs = model.training_loss(images, labels, meter, TrainingState(0.0, torch.Generator()))
    stacked = [torch.stack(logits) for logits in zip(*(_exits(model, image) for image in images), strict=True)]
    losses = [functional.cross_entropy(logits, labels) for logits in stacked]
    torch.testing.assert_close(loss, 0.25 * (losses[0] + losses[1] + losses[2]) + losses[3])
    torch.testing.assert_close(logs["exit2_loss"], losses[1])
    assert (meter.executions == 1).all()


def test_the_search_finds_the_best_thresholds_within_each_budget():
    # Four samples; the first exit is right where it is certain, the second on one more, the last on all.
    entropies = torch.tensor([[0.1, 0.1], [0.2, 0.2], [0.8, 0.3], [0.9, 0.9]])
    correct = torch.tensor([[True, True, True], [True, True, True], [False, True, True], [False, False, True]])
    found = search_thresholds(entropies, correct, [100, 100, 100], [2, 2], budgets=7)
    spent = {}
    for share, (first, second) in found.items():
        taken = [0 if e1 < first else 1 if e2 < second else 2 for e1, e2 in entropies.tolist()]
        run1, run2 = 2 * (first > 0), 2 * (second > 0)
        costs = [[100 + run1, 200 + run1 + run2, 300 + run1 + run2][exit_] for exit_ in taken]
        assert share == pytest.approx(sum(costs) / 4 / 300, abs=1e-4)
        spent[share] = sum(row[exit_].item() for row, exit_ in zip(correct, taken, strict=True)) / 4
    shares, accuracies = list(spent), list(spent.values())
    assert shares == sorted(shares)
    assert accuracies[:-1] == sorted(accuracies[:-1])  # no more expensive choice is worse
    assert shares[0] == pytest.approx(102 / 300, abs=1e-4)
    assert accuracies[0] == 0.5
    assert found[1.0] == (0.0, 0.0)
    # All four right: the sure ones leave first, the third at the second exit, the last at the end.
    all_right = min(share for share, accuracy in spent.items() if accuracy == 1)
    assert all_right == pytest.approx((102 + 102 + 204 + 304) / 4 / 300, abs=1e-4)


def test_a_branch_that_only_costs_is_switched_off():
    # The first exit is always wrong and never sure; the second is always right.
    entropies = torch.tensor([[1.0, 0.1]] * 8)
    correct = torch.tensor([[False, True, True]] * 8)
    found = search_thresholds(entropies, correct, [10, 10, 10], [5, 5], budgets=12)
    assert min(share for share, (first, _) in found.items() if first == 0) == pytest.approx(25 / 30, abs=1e-4)
    assert all(first == 0 for share, (first, _) in found.items() if share > 0.5)


def test_operating_points_come_from_the_validation_split_and_spend_there_what_their_knob_says():
    model = _model()
    images, labels = _images(60), torch.randint(4, (60,), generator=torch.Generator().manual_seed(0))
    points = model.operating_points(zip(images.split(25), labels.split(25), strict=True))
    full = _classify(model, images, (0.0, 0.0, 0.0))[2].double().mean()
    for point in points:
        _, _, macs = _classify(model, images, point.setting)
        assert (macs.double().mean() / full).item() == pytest.approx(point.knob, abs=1e-3)
    knobs = [point.knob for point in points]
    assert knobs == sorted(set(knobs))
    assert points[0].setting[0] == math.inf
    assert points[-1] == model.default_point
    assert len(points) >= 3
    # Other labels, other thresholds: they are chosen by accuracy on this split.
    others = model.operating_points([(images, labels.roll(1))])
    assert {point.setting for point in others} != {point.setting for point in points}


@pytest.mark.parametrize(
    ("depth", "exits", "expected"), [(8, None, 2), (14, None, 3), (20, None, 3), (20, (2, 5, 6, 8), 4), (14, (3,), 1)]
)
def test_exits_stand_where_they_are_asked_for(depth, exits, expected):
    model = BranchyNet(SHAPE, 4, depth=depth, channels=(4, 6, 8), exits=exits)
    assert len(model.branches) == expected
    units = [sum(hasattr(module, "conv2") for module in segment.children()) for segment in model.segments]
    per_stage = (depth - 2) // 6
    assert list(itertools.accumulate(units))[:-1] == list(exits or sorted({1, per_stage, 2 * per_stage}))
    assert sum(units) == 3 * per_stage


@pytest.mark.parametrize("exits", [(), (0, 2), (3, 2), (2, 2), (6,)])
def test_exits_that_are_nowhere_are_refused(exits):
    with pytest.raises(ValueError, match="must be ascending numbers of units from 1 to 5"):
        _model(exits=exits)
