from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from benchmark.data.kinds import parity
from benchmark.errors import UserError


def vectors(split):
    """The numbers of each sample, -1, 0 or 1: [samples, numbers]."""
    images = split.read(np.arange(len(split.labels)))
    assert images.dtype == np.uint8
    assert set(np.unique(images)) == {0, 128, 255}
    return np.searchsorted([0, 128, 255], images).reshape(len(images), -1) - 1


@pytest.fixture(scope="module")
def numbers():
    return parity.generate(Path(), size=4, train=6400, validation=64, test=3200)


def test_the_label_is_the_parity_of_the_ones_and_the_dial_the_number_of_entries(numbers):
    for split in (numbers.train, numbers.validation, numbers.test):
        values = vectors(split)
        assert ((values == 1).sum(axis=1) % 2 == split.labels).all()
        assert ((values != 0).sum(axis=1) == split.difficulty).all()
    assert numbers.classes == ("even", "odd")


def test_classes_are_balanced_for_every_number_of_entries(numbers):
    counts = np.zeros((17, 2), dtype=int)
    np.add.at(counts, (numbers.train.difficulty.astype(int), numbers.train.labels), 1)
    assert (counts[1:] == 200).all()


def test_all_vectors_of_a_parity_are_equally_frequent():
    split = parity.generate(Path(), size=2, train=40_000, validation=2, test=2).train
    full = vectors(split)[split.difficulty == 4]
    counts = np.unique(full, axis=0, return_counts=True)[1]
    assert len(counts) == 16
    assert np.abs(counts - 625).max() < 4 * np.sqrt(625)


def test_entries_stand_anywhere(numbers):
    share = (vectors(numbers.train) != 0).mean(axis=0)
    assert np.abs(share - 8.5 / 16).max() < 4 * np.sqrt(0.25 / 6400)


def test_no_linear_function_and_no_count_tells_the_label(numbers):
    train, test = vectors(numbers.train), vectors(numbers.test)

    def score(features):
        probe = LogisticRegression(max_iter=200).fit(features(train), numbers.train.labels)
        return probe.score(features(test), numbers.test.labels)

    # A single entry is the label: of 16 lengths, that one may be known.  Two standard errors of 3,200 samples more.
    chance = 0.5 + 0.5 / 16 + 2 * np.sqrt(0.25 / 3200)
    assert score(lambda values: values) < chance
    assert score(lambda values: np.abs(values)) < chance
    assert score(lambda values: np.stack([values.sum(axis=1), np.abs(values).sum(axis=1)], axis=1)) < chance


def test_test_vectors_may_be_longer_than_any_in_training():
    dataset = parity.generate(Path(), size=4, train_longest=6, longest=12, train=120, validation=24, test=120)
    for split, longest in ((dataset.train, 6), (dataset.validation, 6), (dataset.test, 12)):
        assert split.difficulty is not None
        assert len(set(np.bincount(split.difficulty.astype(int))[1:])) == 1
        assert split.difficulty.max() == longest


def test_the_same_seed_gives_the_same_vectors_and_splits_differ():
    def arrays(seed):
        dataset = parity.generate(Path(), size=4, train=20, validation=20, test=20, seed=seed)
        return [vectors(split) for split in (dataset.train, dataset.validation, dataset.test)]

    first, again, other = arrays(0), arrays(0), arrays(1)
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert not (first[0] == other[0]).all()
    assert not (first[0] == first[1]).all()
    assert not (first[1] == first[2]).all()


@pytest.mark.parametrize("parameters", [{"size": 0}, {"size": 1}, {"longest": 65}, {"train_longest": 0}, {"test": 1}])
def test_impossible_parameters_are_refused_by_name(parameters):
    with pytest.raises(UserError, match=r"parity: .* invalid parameters"):
        parity.generate(Path(), **parameters)
