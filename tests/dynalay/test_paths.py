"""Controls of a sweep: which paths are tried, who follows them, and which thresholds are worth recording."""

from collections import Counter

import pytest
import torch
from torch import Tensor

from dynalay import paths
from dynalay.classifier import OperatingPoint
from dynalay.meter import Meter
from dynalay.sleeping import SleepingNetwork
from dynalay.sweep import Path, Sweep


@pytest.mark.parametrize("evaluations", [1, 2, 6])
@pytest.mark.parametrize("layers", range(1, 10))
def test_fixed_paths_are_distinct_and_begin_with_the_empty_and_the_full_one(layers, evaluations):
    found = paths.fixed_paths(layers, evaluations)
    assert found[:2] == [(0,) * layers, (evaluations,) * layers]
    assert len(found) == len(set(found))
    assert {often for path in found for often in path} <= set(range(evaluations + 1))
    if (evaluations + 1) ** layers <= paths.ALL_PATHS:
        assert len(found) == (evaluations + 1) ** layers
    else:
        assert len(found) <= 4 * layers + 1 + evaluations
        assert {tuple(evaluations * (layer == one) for layer in range(layers)) for one in range(layers)} <= set(found)


def test_the_envelope_is_what_no_mixture_beats():
    costs = torch.tensor([1.0, 2.0, 3.0, 3.0, 4.0, 5.0], dtype=torch.float64)
    accuracies = torch.tensor([0.5, 0.55, 0.7, 0.8, 0.85, 0.84], dtype=torch.float64)
    assert paths.envelope(costs, accuracies) == [0, 3, 4]


def blind(point: OperatingPoint, images: Tensor, layers: int, evaluations: int = 1) -> Tensor:
    found = paths.blind_paths(point, images, layers, evaluations)
    assert found is not None
    return found


def test_random_paths_have_the_share_that_they_are_asked_for_and_differ_between_images():
    images = torch.randn(2000, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    found = blind(OperatingPoint(0.3, "random"), images, 4)
    torch.testing.assert_close(found.float().mean(dim=0), torch.full((4,), 0.3), atol=0.04, rtol=0)
    assert len(found.unique(dim=0)) == 16
    assert torch.equal(blind(OperatingPoint(0.3, "random"), images[5:8], 4), found[5:8])


def test_random_evaluations_of_a_layer_end_at_the_first_refusal():
    images = torch.randn(4000, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    found = blind(OperatingPoint(0.5, "random"), images, 1, 3).squeeze(1)
    shares = torch.bincount(found, minlength=4) / 4000
    torch.testing.assert_close(shares, torch.tensor([0.5, 0.25, 0.125, 0.125]), atol=0.03, rtol=0)


def test_shuffled_paths_are_as_frequent_as_the_agents_own():
    images = torch.randn(3000, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    own = {(0, 0, 0): 1, (0, 1, 0): 3, (1, 0, 1): 2}
    found = blind(OperatingPoint(0.1, "shuffled", tuple(own.items())), images, 3)
    counts = Counter(map(tuple, found.tolist()))
    assert {path: round(count / 500, 0) for path, count in counts.items()} == own


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ((1, 0, 2), [(0, 0, 0), (1, 0, 1), (1, 0, 2)]),
        ((0, 2, 1), [(0, 0, 0), (0, 1, 0), (0, 2, 0), (0, 2, 1)]),
        ((1, 0, 0), [(0, 0, 0), (1, 0, 0)]),
        ((0, 0, 0), [(0, 0, 0)]),
    ],
)
def test_exits_are_the_bare_answer_and_each_evaluation_in_the_last_stage(path, expected):
    assert paths.exits(path, last=1) == expected


@pytest.fixture
def network() -> SleepingNetwork:
    torch.manual_seed(0)
    return SleepingNetwork((2, 6, 6), 3, (1, 2), (4, 6), (1, 2), "standardised", "average", 2).eval()


@pytest.mark.parametrize("rule", ["entropy", "max_probability"])
@pytest.mark.parametrize("ways", [((0, 0, 0), (1, 0, 2)), ((0, 1, 0), (1, 1, 1)), ((1, 2, 2),)])
@torch.no_grad()
def test_where_a_threshold_leads_can_be_read_off_the_answers_to_fixed_paths(network, rule, ways):
    """Following a threshold sample by sample, and reading the paths off, are the same."""
    images = torch.randn(60, 2, 6, 6, generator=torch.Generator().manual_seed(1))
    meter = Meter(network.components(), 60)
    bare = network.bare(images, meter)
    doubt = paths.DOUBT[rule]
    threshold = doubt(bare.logits).median().item()
    point = OperatingPoint(1, rule, (threshold, *ways))
    reachable = paths.reachable(point, images, network)
    answers = Sweep(network, meter, bare=bare).follow_all(sorted(reachable | {(0, 0, 0)}))
    followed, passed = paths.reached(point, images, answers, network)
    assert set(map(tuple, followed.tolist())) <= reachable
    assert len(followed.unique(dim=0)) > 1
    if len(ways) == 2:
        expected = torch.tensor(ways)[(doubt(bare.logits) > threshold).long()]
        assert torch.equal(followed, expected)
        return
    sweep = Sweep(network, meter, bare=bare)
    paths.follow_until_sure(sweep, ways[0], lambda logits, exits: doubt(logits) > threshold)
    assert torch.equal(sweep.evaluated, followed)
    assert passed.tolist() == followed[:, 1:].sum(dim=1).tolist()


def tried(correct: Tensor, logits: Tensor, macs: list[int], every: list[Path], last: int) -> paths.Tried:
    doubt = {rule: measure(logits) for rule, measure in paths.DOUBT.items()}
    return paths.Tried(every, torch.tensor(macs), 0, last, correct, doubt)


def test_thresholds_recorded_are_the_best_on_validation():
    """Where only doubtful samples gain, a threshold beats every mixture of paths, and the best one is recorded."""
    samples = 400
    doubtful = torch.arange(samples) % 4 == 0
    logits = torch.where(doubtful, 0.1, 4.0)[:, None] * torch.tensor([1.0, 0.0])
    logits = logits + 0.01 * torch.randn(samples, 2, generator=torch.Generator().manual_seed(0))
    sure = (~doubtful).float()
    # In front: no layer, both layers, then layer 2 (as good as both, and cheaper) and layer 1 (useless).
    correct = torch.stack([sure, torch.ones(samples), torch.ones(samples), sure], dim=1)
    every = paths.fixed_paths(2)
    assert every == [(0, 0), (1, 1), (0, 1), (1, 0)]
    none, second = every[0], every[2]
    taken: dict[float, list[Path]] = {0.1: [none] * samples, 0.01: [second] * 300 + [none] * 100}
    found = tried(correct, logits[:, None].expand(-1, 4, -1), [10, 30, 20, 20], every, 1)
    points = paths.control_points(taken, found)
    assert len({point.name for point in points}) == len(points)
    assert {point.policy for point in points} == {
        "never", "always", "schedule", "random", "shuffled", "entropy", "max_probability",
    }  # fmt: skip
    assert [point.setting for point in points if point.policy == "schedule"] == [(0, 1), (1, 0)]
    assert [point.setting for point in points if point.policy == "shuffled"] == [
        (((0, 0), 400),), (((0, 0), 100), ((0, 1), 300)),
    ]  # fmt: skip
    for rule in ("entropy", "max_probability"):
        reached = []
        for point in points:
            if point.policy == rule:
                threshold, low, high = point.setting
                assert (low, high) == ((0, 0), (0, 1))
                goes = paths.DOUBT[rule](logits) > threshold
                reached.append(((goes & doubtful).sum().item(), goes.sum().item()))
        assert any(right >= 99 and went <= 104 for right, went in reached), (rule, reached)


def test_a_chain_is_left_as_soon_as_the_newest_answer_is_sure():
    """One layer, three evaluations: a third of the samples is right and sure after each of them."""
    samples = 300
    every: list[Path] = [(0,), (3,), (1,), (2,)]
    kind = torch.arange(samples) % 3 + 1  # solved by so many evaluations
    often = torch.tensor([path[0] for path in every])
    solved = often >= kind[:, None]
    logits = torch.where(solved, 5.0, 0.1)[..., None] * torch.tensor([1.0, 0.0])
    points = paths.control_points({}, tried(solved.float(), logits, [10, 40, 20, 30], every, 0))
    settings = [point.setting for point in points if point.policy == "entropy"]
    assert any(len(setting) == 2 and setting[1] == (3,) for setting in settings), settings
