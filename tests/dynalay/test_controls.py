"""Controls: which there are, and that their thresholds lie at quantiles of the validation split."""

import math

import torch

from dynalay.controls import control_points, schedules


def test_schedules_are_all_short_sequences_but_the_upward_sweep():
    assert schedules((1,), 4) == [], "one layer has no schedule but `always`"
    short = schedules((1, 2, 3), 2)
    assert len(short) == 2 + 8
    assert (1,) not in short
    assert (1, 2) not in short
    longer = schedules((1, 2, 3), 6)
    assert len(longer) == len(set(longer)) < 40
    assert (2, 2, 2, 2, 2, 2) in longer
    assert (3, 2, 1, 3) in longer
    assert all(len(sequence) <= 6 for sequence in longer)


def test_controls_have_distinct_names_and_as_many_thresholds_as_asked_for():
    logits = [torch.randn(100, 4, generator=torch.Generator().manual_seed(round_)) for round_ in range(3)]
    sequences: dict[float, list[tuple[int, ...]]] = {0.1: [(), (1,), (1,)], 0.01: [(2, 1), (), (2, 1)]}
    points = control_points((1, 2), 3, 12, sequences, logits)
    assert len({point.name for point in points}) == len(points)
    by_policy = {policy: [p for p in points if p.policy == policy] for policy in {point.policy for point in points}}
    assert len(by_policy["entropy"]) == len(by_policy["max_probability"]) == 12
    assert {p.knob: p.setting for p in by_policy["shuffled"]} == {
        0.1: (((), 1), ((1,), 2)),
        0.01: (((), 1), ((2, 1), 2)),
    }
    probabilities = torch.cat(logits).softmax(dim=1)
    entropies = -(probabilities * probabilities.log()).sum(dim=1) / math.log(4)
    below = [(entropies < point.knob).double().mean().item() for point in by_policy["entropy"]]
    torch.testing.assert_close(below, [(index + 0.5) / 12 for index in range(12)], atol=0.01, rtol=0)


def test_without_validation_there_are_no_thresholds():
    points = control_points((1,), 2, 5, {}, [])
    assert {point.policy for point in points} == {"never", "always", "random"}
