import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.data.raw import RawSplit
from benchmark.data.splits import cap, hold_out, stratified_indices
from benchmark.errors import UserError


def numbered(labels):
    """A split whose images are their own indices."""
    indices = np.arange(len(labels))
    return RawSplit(labels, indices.__getitem__, indices.astype(np.float32))


def members(split):
    return split.read(np.arange(len(split.labels)))


@given(st.lists(st.integers(0, 4), min_size=2, max_size=200), st.data())
def test_every_class_is_represented_by_its_share(labels, data):
    labels = np.array(labels)
    count = data.draw(st.integers(1, len(labels)))
    indices = stratified_indices(labels, count, "validation")
    assert len(np.unique(indices)) == len(indices) == count
    for label in np.unique(labels):
        assert abs((labels[indices] == label).sum() - count * (labels == label).mean()) < 1


def test_a_larger_subset_contains_a_smaller_one():
    labels = np.tile(np.arange(10), 100)
    smaller, larger = (stratified_indices(labels, count, "validation") for count in (100, 300))
    assert set(smaller) < set(larger)


def test_the_subset_is_the_same_for_ever():
    assert stratified_indices(np.zeros(100, dtype=int), 5, "validation").tolist() == [13, 22, 30, 44, 86]


def test_nothing_is_lost_or_doubled_when_held_out():
    split = numbered(np.tile(np.arange(5), 20))
    rest, held = hold_out(split, 0.2, "validation")
    assert len(held.labels) == 20
    assert sorted([*members(rest), *members(held)]) == list(range(100))
    for part in (rest, held):
        assert (part.labels == members(part) % 5).all()
        assert (part.difficulty == members(part)).all()


def test_an_amount_of_one_or_more_is_a_number_of_samples():
    _, held = hold_out(numbered(np.tile(np.arange(5), 20)), 15, "validation")
    assert len(held.labels) == 15


@pytest.mark.parametrize("amount", [0, -0.1, 0.001, 100, 1.5])
def test_an_impossible_amount_is_refused_by_name(amount):
    with pytest.raises(UserError, match="validation: "):
        hold_out(numbered(np.zeros(100, dtype=int)), amount, "validation")


def test_a_cap_takes_a_stratified_part_and_none_takes_all():
    split = numbered(np.tile(np.arange(5), 20))
    assert np.bincount(cap(split, 25, "train_samples").labels).tolist() == [5] * 5
    assert cap(split, None, "train_samples") is split
    assert cap(split, 1000, "train_samples") is split
    with pytest.raises(UserError, match="train_samples: 0"):
        cap(split, 0, "train_samples")
