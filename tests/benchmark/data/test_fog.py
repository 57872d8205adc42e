from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmark.data import facts, load, percolation, prepare
from benchmark.data.kinds import maze
from benchmark.errors import UserError
from tests.benchmark.data.test_maze import path_length

FOG: dict[str, Any] = {"size": 10, "longest": 12, "fog": 0.75, "train": 1600, "validation": 24, "test": 1600}


@pytest.fixture(scope="module")
def mazes():
    return maze.generate(Path(), **FOG)


def arrays(split, group=None):
    """Open cells, markers and hidden cells, each bool [samples, size, size], and labels; of one group, or all."""
    images = split.read(np.arange(len(split.labels)))
    assert images.dtype == np.uint8
    assert set(np.unique(images)) == {0, 255}
    chosen = slice(None) if group is None else split.group == group
    return *(images[chosen] > 0).transpose(1, 0, 2, 3), split.labels[chosen]


def joined(is_open, markers):
    return np.isfinite(path_length(is_open, markers))


def test_every_way_to_hide_has_its_share_and_balanced_classes(mazes):
    assert mazes.groups == ("clear", "endpoint hidden", "gate hidden", "harmless fog")
    for split, each in ((mazes.train, 400), (mazes.validation, 6), (mazes.test, 400)):
        assert np.bincount(split.group).tolist() == [each] * 4
        assert all(split.labels[split.group == group].mean() == 0.5 for group in range(4))


@pytest.mark.parametrize(("samples", "fog", "each"), [(200, 0.3, 20), (100, 0.3, 10), (99, 1.0, 32), (25, 0.5, 4)])
def test_shares_are_as_close_as_balance_allows(samples, fog, each):
    split = maze.generate(Path(), size=8, longest=4, fog=fog, train=samples, validation=20, test=20).train
    assert split.group is not None
    assert np.bincount(split.group).tolist() == [samples - 3 * each] + [each] * 3
    for group in (maze.ENDPOINT, maze.GATE, maze.HARMLESS):
        assert split.labels[split.group == group].mean() == 0.5


def test_two_cells_are_hidden_and_show_nothing(mazes):
    for group, cells, seen in ((maze.CLEAR, 0, 2), (maze.ENDPOINT, 2, 1), (maze.GATE, 2, 2), (maze.HARMLESS, 2, 2)):
        is_open, markers, hidden, _ = arrays(mazes.test, group)
        assert (hidden.sum(axis=(1, 2)) == cells).all()
        assert (markers.sum(axis=(1, 2)) == seen).all()
        assert is_open[markers].all()
        assert not (hidden & (is_open | markers)).any()


def test_an_image_of_a_hopeless_maze_arises_with_both_labels_equally_often():
    """Only the label differs between the two renderings, and it is a fair coin: so nobody can do better than 50%."""
    drawn = percolation.gated_mazes(200, 10, 0.62, 12, np.random.default_rng(0), to_hide=True)
    yes, no = np.ones(200, bool), np.zeros(200, bool)
    for group in range(4):
        groups = np.full(200, group)
        same = (maze.render(drawn, groups, yes) == maze.render(drawn, groups, no)).all(axis=(1, 2, 3))
        assert (same == (group in maze.HOPELESS)).all()
        hidden = [maze.render(drawn, groups, label)[:, 2] for label in (yes, no)]
        assert (hidden[0] == hidden[1]).all()


def test_what_is_hidden_decides_in_hopeless_mazes(mazes):
    is_open, markers, hidden, _ = arrays(mazes.test, maze.GATE)
    for index in range(60):
        answers = []
        for row, column in np.argwhere(hidden[index]):
            opened = is_open[index].copy()
            opened[row, column] = True
            answers.append(joined(opened, markers[index]))
        assert sorted(answers) == [False, True]
    is_open, markers, hidden, _ = arrays(mazes.test, maze.ENDPOINT)
    for index in range(60):
        answers = []
        for row, column in np.argwhere(hidden[index]):
            both = markers[index].copy()
            both[row, column] = True
            answers.append(joined(is_open[index] | hidden[index], both))
        assert sorted(answers) == [False, True]
    for group in maze.HOPELESS:
        assert np.isnan(mazes.test.difficulty[mazes.test.group == group]).all()


def test_harmless_fog_changes_no_answer(mazes):
    is_open, markers, hidden, labels = arrays(mazes.test, maze.HARMLESS)
    lengths = mazes.test.difficulty[mazes.test.group == maze.HARMLESS]
    for index in range(100):
        certain = path_length(is_open[index], markers[index])
        assert np.isfinite(certain) == joined(is_open[index] | hidden[index], markers[index]) == labels[index]
        assert lengths[index] == certain if labels[index] else np.isnan(lengths[index])


def test_clear_mazes_are_as_without_fog(mazes):
    is_open, markers, _, labels = arrays(mazes.test, maze.CLEAR)
    assert [joined(*pair) for pair in zip(is_open[:100], markers[:100], strict=True)] == labels[:100].tolist()


def test_path_lengths_are_spread_alike_in_clear_and_harmless_mazes(mazes):
    clear, harmless = (mazes.train.difficulty[(mazes.train.group == group)] for group in (maze.CLEAR, maze.HARMLESS))
    clear, harmless = clear[~np.isnan(clear)], harmless[~np.isnan(harmless)]
    # 200 of each: standard error 0.07 of the mean logarithm.  Paths round a hidden cell are a little longer.
    assert abs(np.log(clear).mean() - np.log(harmless).mean()) < 0.3


def local_statistics(is_open, markers, hidden):
    """What can be said of a maze without following a path."""
    neighbours = ndimage.convolve(is_open.astype(int), np.ones((1, 3, 3), int), mode="constant")
    quads = sum(is_open[:, i : 9 + i, j : 9 + j] * 2 ** (2 * i + j) for i in (0, 1) for j in (0, 1))
    features = [(quads == pattern).sum(axis=(1, 2)) for pattern in range(16)]
    for places in (markers, hidden):
        features += [(neighbours * places).sum(axis=(1, 2)), np.where(places, neighbours, 0).max(axis=(1, 2))]
        rows, columns = (np.arange(10)[:, None], np.arange(10)[None])
        features += [(places * axis).sum(axis=(1, 2)) for axis in (rows, columns, rows**2 + columns**2, rows * columns)]
    distance = np.array([ndimage.distance_transform_edt(~place) if place.any() else place for place in markers])
    features += [(distance * hidden).sum(axis=(1, 2)), is_open.sum(axis=(1, 2))]
    return np.stack(features, axis=1)


def pixels(*channels):
    return np.concatenate(channels, axis=1).reshape(len(channels[0]), -1)


@pytest.mark.parametrize("features", [local_statistics, pixels])
def test_no_shortcut_tells_the_label_in_any_group(mazes, features):
    chance = 0.5 + 4 * np.sqrt(0.25 / 400)
    for group in range(4):
        *train, train_labels = arrays(mazes.train, group)
        *test, test_labels = arrays(mazes.test, group)
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=200))
        assert probe.fit(features(*train), train_labels).score(features(*test), test_labels) < chance, group


def test_hidden_cells_are_distributed_alike_in_both_classes(mazes):
    for group in (maze.ENDPOINT, maze.GATE, maze.HARMLESS):
        _, _, hidden, labels = arrays(mazes.train, group)
        yes, no = (np.argwhere(hidden[labels == label])[:, 1:] for label in (1, 0))
        # 400 cells of each class, whose coordinates have a standard deviation of about 2.9.
        assert np.abs(yes.mean(axis=0) - no.mean(axis=0)).max() < 4 * 2.9 * np.sqrt(2 / 400)


def test_groups_are_stored_and_known_by_name(tmp_path):
    parameters = {"size": 8, "longest": 4, "fog": 0.5, "train": 24, "validation": 12, "test": 12}
    prepare("maze", parameters, tmp_path)
    dataset = load("maze", parameters, tmp_path, verify=True)
    assert dataset.groups == maze.GROUPS
    assert dataset.image_shape == facts("maze", parameters, tmp_path / "elsewhere").image_shape == (3, 8, 8)
    assert dataset.train.group is not None
    assert dataset.train.group.bincount().tolist() == [12, 4, 4, 4]


def test_without_fog_there_are_no_groups_and_no_third_channel():
    dataset = maze.generate(Path(), size=8, longest=4, train=10, validation=4, test=4)
    assert dataset.groups == ()
    assert dataset.train.group is None
    assert dataset.train.read(np.arange(10)).shape == (10, 2, 8, 8)


@pytest.mark.parametrize("fog", [-0.1, 1.1, 0.01])
def test_impossible_shares_are_refused(fog):
    with pytest.raises(UserError, match="maze: fog"):
        maze.generate(Path(), fog=fog, train=100, validation=100, test=100)
