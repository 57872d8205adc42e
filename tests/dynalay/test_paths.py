"""Controls of a sweep: which paths are tried, who follows them, and which thresholds are worth recording."""

from collections import Counter

import pytest
import torch

from dynalay import paths
from dynalay.classifier import OperatingPoint


@pytest.mark.parametrize("layers", range(1, 10))
def test_fixed_paths_are_distinct_and_begin_with_the_empty_and_the_full_one(layers):
    found = paths.fixed_paths(layers)
    assert found[:2] == [(), tuple(range(1, layers + 1))]
    assert len(found) == len(set(found))
    assert all(list(path) == sorted(set(path)) and set(path) <= set(found[1]) for path in found)
    if layers <= 6:
        assert len(found) == 2**layers
    else:
        assert len(found) <= 4 * layers + 2
        assert {(layer,) for layer in range(1, layers + 1)} <= set(found)


def test_the_envelope_is_what_no_mixture_beats():
    costs = torch.tensor([1.0, 2.0, 3.0, 3.0, 4.0, 5.0], dtype=torch.float64)
    accuracies = torch.tensor([0.5, 0.55, 0.7, 0.8, 0.85, 0.84], dtype=torch.float64)
    assert paths.envelope(costs, accuracies) == [0, 3, 4]


def test_random_paths_have_the_share_that_they_are_asked_for_and_differ_between_images():
    images = torch.randn(2000, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    found = paths.blind_paths(OperatingPoint(0.3, "random"), images, 4)
    assert found is not None
    torch.testing.assert_close(found.float().mean(dim=0), torch.full((4,), 0.3), atol=0.04, rtol=0)
    assert len(found.unique(dim=0)) == 16
    again = paths.blind_paths(OperatingPoint(0.3, "random"), images[5:8], 4)
    assert again is not None
    assert torch.equal(again, found[5:8])


def test_shuffled_paths_are_as_frequent_as_the_agents_own():
    images = torch.randn(3000, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    own = {(): 1, (1, 3): 2, (2,): 3}
    found = paths.blind_paths(OperatingPoint(0.1, "shuffled", tuple(sorted(own.items()))), images, 3)
    assert found is not None
    counts = Counter(tuple(layer + 1 for layer in range(3) if row[layer]) for row in found.tolist())
    assert {path: round(count / 500, 0) for path, count in counts.items()} == own


@pytest.mark.parametrize("rule", ["entropy", "max_probability"])
def test_a_threshold_sends_the_doubtful_along_the_longer_path(rule):
    logits = torch.tensor([[9.0, 0, 0], [0.1, 0, 0]])
    found = paths.threshold_paths(OperatingPoint(0.4, rule, (0.4, (), (1, 3))), logits, 3)
    assert found.tolist() == [[False] * 3, [True, False, True]]
    assert paths.blind_paths(OperatingPoint(0.4, rule, (0.4, (), (1, 3))), logits, 3) is None


def test_an_unknown_policy_is_refused():
    with pytest.raises(ValueError, match="guess"):
        paths.threshold_paths(OperatingPoint(0.4, "guess"), torch.zeros(1, 2), 3)


def test_thresholds_recorded_are_the_best_on_validation():
    """Where only doubtful samples gain, a threshold beats every mixture of paths, and the best one is recorded."""
    layers, samples = 2, 400
    doubtful = torch.arange(samples) % 4 == 0
    logits = torch.where(doubtful, 0.1, 4.0)[:, None] * torch.tensor([1.0, 0.0])
    logits = logits + 0.01 * torch.randn(samples, 2, generator=torch.Generator().manual_seed(0))
    sure = (~doubtful).float()
    # In front: no layer, both layers, then layer 1 (useless) and layer 2 (as good as both, and cheaper).
    correct = torch.stack([sure, torch.ones(samples), sure, torch.ones(samples)], dim=1)
    taken: dict[float, list[paths.Path]] = {0.1: [()] * samples, 0.01: [(2,)] * 300 + [()] * 100}
    points = paths.control_points(layers, taken, logits, correct, torch.tensor([10, 30, 20, 20]))
    assert len({point.name for point in points}) == len(points)
    assert {point.policy for point in points} == {
        "never", "always", "schedule", "random", "shuffled", "entropy", "max_probability",
    }  # fmt: skip
    assert [point.setting for point in points if point.policy == "schedule"] == [(1,), (2,)]
    assert [point.setting for point in points if point.policy == "shuffled"] == [(((), 400),), (((), 100), ((2,), 300))]
    for rule in ("entropy", "max_probability"):
        reached = []
        for point in points:
            if point.policy == rule:
                assert point.setting[1:] == ((), (2,))
                goes = paths.threshold_paths(point, logits, layers)[:, 1]
                reached.append(((goes & doubtful).sum().item(), goes.sum().item()))
        assert any(right >= 99 and went <= 104 for right, went in reached), (rule, reached)
