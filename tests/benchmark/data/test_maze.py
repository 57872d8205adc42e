from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage, sparse
from scipy.sparse import csgraph
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from benchmark.data import percolation
from benchmark.data.kinds import maze
from benchmark.errors import UserError


@pytest.fixture(scope="module")
def mazes():
    return maze.generate(Path(), size=16, longest=28, train=1500, validation=20, test=1000)


def arrays(split):
    """Open cells and markers, each bool [samples, size, size], and labels."""
    images = split.read(np.arange(len(split.labels)))
    assert images.dtype == np.uint8
    assert set(np.unique(images)) == {0, 255}
    return images[:, 0] > 0, images[:, 1] > 0, split.labels


def path_length(is_open, markers):
    """By SciPy's graph search; infinite where there is no path."""
    size = len(is_open)
    cell = np.arange(size * size).reshape(size, size)
    right, down = is_open[:, :-1] & is_open[:, 1:], is_open[:-1] & is_open[1:]
    rows = np.concatenate([cell[:, :-1][right], cell[:-1][down]])
    columns = np.concatenate([cell[:, 1:][right], cell[1:][down]])
    graph = sparse.coo_array((np.ones(len(rows)), (rows, columns)), shape=(size * size, size * size)).tocsr()
    start, end = cell[markers]
    return csgraph.dijkstra(graph, directed=False, unweighted=True, indices=start)[end]


def test_labels_and_difficulties_are_true(mazes):
    is_open, markers, labels = arrays(mazes.test)
    assert (markers.sum(axis=(1, 2)) == 2).all()
    assert is_open[markers].all()
    for index in range(200):
        length = path_length(is_open[index], markers[index])
        assert labels[index] == np.isfinite(length)
        assert mazes.test.difficulty[index] == length if labels[index] else np.isnan(mazes.test.difficulty[index])


def test_classes_are_balanced_and_lengths_spread_evenly_over_their_logarithm():
    gated = percolation.gated_mazes(400, size=10, density=0.62, longest=10, rng=np.random.default_rng(0))
    distances = percolation.path_lengths(gated.grids, gated.start)[np.arange(400), gated.end]
    assert distances.min() == 2
    assert distances.max() == 10
    expected = 400 * np.diff(np.log(np.arange(2, 12))) / np.log(11 / 2)
    assert np.abs(np.bincount(distances)[2:] - expected).max() <= 1


def test_balance(mazes):
    for split in (mazes.train, mazes.validation, mazes.test):
        assert split.labels.mean() == 0.5


def test_gates_look_alike_and_only_the_cut_separates_the_markers():
    gated = percolation.gated_mazes(100, size=10, density=0.62, longest=8, rng=np.random.default_rng(1))
    rows = np.arange(100)
    surroundings = percolation._surroundings(gated.grids)
    assert (surroundings[rows, gated.cut] == surroundings[rows, gated.decoy]).all()

    def distance_to_nearer_marker(cell):
        places = [np.stack(np.divmod(each, 12)) for each in (cell, gated.start, gated.end)]
        return np.minimum(*(((places[0] - marker) ** 2).sum(axis=0) for marker in places[1:]))

    # Squared: 1 beside a marker, 2 at its corner; farther away they need only be similar.
    cut, decoy = (distance_to_nearer_marker(gate).clip(max=4) for gate in (gated.cut, gated.decoy))
    assert (cut == decoy).all()
    assert {1, 2, 4} <= set(cut)
    for gate, joined in ((gated.cut, False), (gated.decoy, True)):
        assert gated.grids.reshape(100, -1)[rows, gate].all()
        closed = percolation.closed(gated.grids, gate)
        assert ((percolation.path_lengths(closed, gated.start)[rows, gated.end] >= 0) == joined).all()


def test_surroundings_are_the_same_for_turned_and_mirrored_grids():
    grid = np.pad(np.random.default_rng(0).random((1, 7, 7)) < 0.5, ((0, 0), (1, 1), (1, 1)))
    expected = percolation._surroundings(grid).reshape(9, 9)
    for turns in range(4):
        for image in (np.rot90, lambda grid, turns: np.rot90(grid, turns).T):
            turned = percolation._surroundings(np.ascontiguousarray(image(grid[0], turns))[None]).reshape(9, 9)
            assert (turned == image(expected, turns)).all()
    assert len(np.unique(percolation._SMALLEST_IMAGE)) == 51  # by Burnside's lemma


MANHATTAN = 0  # where the markers' distance stands among the features


def bag_of_pixels(is_open, markers):
    """What can be said of a maze without following a path: counts, distances, borders and local densities."""
    samples, size, _ = is_open.shape
    first, second = np.argwhere(markers)[:, 1:].reshape(samples, 2, 2).transpose(1, 0, 2)
    away = np.abs(first - second)
    features = [away.sum(axis=1), (away**2).sum(axis=1), is_open.sum(axis=(1, 2))]
    features += [sum((marker == edge).sum(axis=1) for marker in (first, second) for edge in (0, size - 1))]
    quads = sum(is_open[:, i : size - 1 + i, j : size - 1 + j] * 2 ** (2 * i + j) for i in (0, 1) for j in (0, 1))
    features += [(quads == pattern).sum(axis=(1, 2)) for pattern in range(16)]
    for side in (3, 5, 9):
        density = ndimage.uniform_filter(is_open.astype(float), size=(0, side, side), mode="constant")
        at_markers = density[markers].reshape(samples, 2)
        features += [at_markers.min(axis=1), at_markers.max(axis=1)]
        middle = (first + second) // 2
        features += [density[np.arange(samples), middle[:, 0], middle[:, 1]]]
    return np.stack(features, axis=1)


def test_no_shortcut_tells_the_label(mazes):
    train, test = arrays(mazes.train), arrays(mazes.test)

    def correct(probe, features):
        return probe.fit(features(*train[:2]), train[2]).predict(features(*test[:2])) == test[2]

    def pixels(is_open, markers):
        return np.concatenate([is_open, markers], axis=1).reshape(len(is_open), -1)

    assert correct(LogisticRegression(C=0.01, max_iter=200), pixels).mean() < 0.56
    by_bag = correct(HistGradientBoostingClassifier(max_iter=40), bag_of_pixels)
    # Where the markers are neighbours but one, the densities around them all but show the path itself.
    far_apart = bag_of_pixels(*test[:2])[:, MANHATTAN] > 3
    assert far_apart.sum() > 400
    assert by_bag[far_apart].mean() < 0.61
    assert by_bag.mean() < 0.62


def test_the_same_seed_gives_the_same_mazes_and_splits_differ():
    def images(seed):
        dataset = maze.generate(Path(), size=8, longest=4, train=20, validation=20, test=20, seed=seed)
        return [split.read(np.arange(20)) for split in (dataset.train, dataset.validation, dataset.test)]

    first, again, other = images(0), images(0), images(1)
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert not (first[0] == other[0]).all()
    assert not (first[0] == first[1]).all()
    assert not (first[1] == first[2]).all()


@pytest.mark.parametrize("parameters", [{"size": 3}, {"density": 1.0}, {"longest": 1}, {"test": 0}])
def test_impossible_parameters_are_refused(parameters):
    with pytest.raises(UserError, match="maze: "):
        maze.generate(Path(), **parameters)


def test_lengths_that_do_not_turn_up_are_named():
    with pytest.raises(UserError, match=r"no paths of length .*17 are found; lower `longest`"):
        maze.generate(Path(), size=4, longest=17, train=40, validation=2, test=2)
