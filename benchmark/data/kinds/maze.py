"""Mazes with two marked cells: joined by an open path, or not? The path's length is a dial that computation overcomes.

Mazes are percolation grids: each cell is open with a certain probability. Nothing short of following the path (the
connectedness of Minsky & Papert 1969) must tell whether the markers are joined. So each maze is made from a grid in
which they are, by closing one of two *gates*:

- the *cut*: an open cell through which every path between the markers leads; closed, they are not joined;
- the *decoy*: an open cell that looks alike (its 8 neighbours are the same up to rotation and reflection; it touches as
  many borders; it has a marker at its side, or at its corner, if the cut has) and lies about as far from both markers,
  but without which they remain joined.

Grid, markers and gates are drawn first, and a toss of a coin then decides which gate is closed. Hence the two classes
agree exactly in the distributions of the markers' places and distances, of the number of open cells, and of the path's
length with both gates open; local patterns differ only by where a gate lies.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmark.data.raw import Facts, RawDataset, RawSplit
from benchmark.errors import UserError

# Grids are padded by a wall all round: bool [mazes, size + 2, size + 2], True where open. A cell is an index into its
# own flattened grid, so that a step to a neighbour is the addition of a constant.
Grids = NDArray[np.bool_]
Cells = NDArray[np.int64]

_CLASSES = ("not joined", "joined")
_DRAWN = 2048  # grids drawn at a time
_ATTEMPTS = 8  # cells tried as a gate before a grid is given up
_FRUITLESS = 50  # draws without one new maze after which the parameters are given up
_IN_PLANE = np.array([[[0] * 3] * 3, [[0, 1, 0], [1, 1, 1], [0, 1, 0]], [[0] * 3] * 3])  # no step from maze to maze


@dataclass(frozen=True)
class Gated:
    """Grids in which the markers are joined, and their two gates; each [mazes, ...]."""

    grids: Grids
    start: Cells
    end: Cells
    cut: Cells
    decoy: Cells


def generate(
    folder: Path,
    *,
    size: int = 20,
    density: float = 0.62,
    longest: int = 48,
    train: int = 8000,
    validation: int = 1000,
    test: int = 2000,
    seed: int = 0,
) -> RawDataset:
    """Mazes [2, size, size]: channel 0 shows the open cells, channel 1 the two markers.

    Args:
        folder: not looked at.
        size: cells per side.
        density: the probability that a cell is open; paths are longest near the percolation threshold, 0.593.
        longest: with both gates open, paths of 2 steps to this many are equally frequent.
        train: training samples.
        validation: validation samples.
        test: test samples.
        seed: of the mazes; not the seed of a run, for all runs share the data.
    """
    if size < 4 or not 0 < density < 1 or longest < 2 or min(train, validation, test) < 2:
        raise UserError(
            f"maze: size {size} (at least 4), density {density:g} (between 0 and 1), longest {longest} (at least 2) "
            f"and {train}, {validation} and {test} samples (at least 2 each) are no possible parameters"
        )
    streams = np.random.default_rng(seed).spawn(3)
    return RawDataset(
        classes=_CLASSES,
        train=_split(train, size, density, longest, streams[0]),
        validation=_split(validation, size, density, longest, streams[1]),
        test=_split(test, size, density, longest, streams[2]),
        difficulty_name="shortest path length",
    )


def describe(folder: Path, *, size: int, train: int, validation: int, test: int, **_: Any) -> Facts:
    """Shape, classes and sizes for the same parameters, without drawing anything."""
    return Facts((2, size, size), _CLASSES, train, validation, test)


def _split(samples: int, size: int, density: float, longest: int, rng: np.random.Generator) -> RawSplit:
    gated = gated_mazes(samples, size, density, longest, rng)
    joined = rng.permutation(np.arange(samples) % 2 == 0)
    mazes = np.arange(samples)
    grids = _closed(gated.grids, np.where(joined, gated.decoy, gated.cut))
    difficulty = _distances(grids, gated.start)[mazes, gated.end].astype(np.float32)
    difficulty[~joined] = np.nan
    markers = np.zeros_like(grids)
    for marker in (gated.start, gated.end):
        _flat(markers)[mazes, marker] = True
    images = np.stack([grids, markers], axis=1)[:, :, 1:-1, 1:-1] * np.uint8(255)
    return RawSplit(joined.astype(np.int64), images.__getitem__, difficulty)


def gated_mazes(samples: int, size: int, density: float, longest: int, rng: np.random.Generator) -> Gated:
    """As many gated mazes, in random order, whose path lengths are spread log-uniformly from 2 to `longest`."""
    lengths = np.arange(2, longest + 2)
    below = samples * np.log(lengths / 2) / np.log((longest + 1) / 2)  # as many have a path shorter than this
    wanted = np.zeros(longest + 1, dtype=np.int64)  # by length: how many are still to be found
    wanted[2:] = np.diff(below.round().astype(np.int64))
    found: list[Gated] = []
    fruitless = 0
    while wanted.any():
        lengths = rng.choice(longest + 1, size=_DRAWN, p=wanted / wanted.sum())
        gated, kept = _draw(lengths, size, density, rng)
        # Of each length no more than are wanted: the first ones, by their rank among those of equal length.
        ordered = np.argsort(lengths[kept], kind="stable")
        equal = lengths[kept][ordered]
        rank = np.arange(len(kept)) - np.searchsorted(equal, equal)
        chosen = ordered[rank < wanted[equal]]
        wanted -= np.bincount(lengths[kept][chosen], minlength=longest + 1)
        found.append(_take(gated, chosen))
        fruitless = 0 if len(chosen) else fruitless + 1
        if fruitless == _FRUITLESS:
            missing = ", ".join(map(str, np.flatnonzero(wanted)))
            raise UserError(
                f"maze: at size {size} and density {density:g} no paths of length {missing} turn up; "
                "lower `longest`, or choose a density nearer to 0.6"
            )
    everything = Gated(*(np.concatenate([getattr(part, field.name) for part in found]) for field in fields(Gated)))
    return _take(everything, rng.permutation(samples))


def _take(gated: Gated, indices: NDArray[np.int64]) -> Gated:
    return Gated(*(getattr(gated, field.name)[indices] for field in fields(Gated)))


def _draw(lengths: Cells, size: int, density: float, rng: np.random.Generator) -> tuple[Gated, NDArray[np.int64]]:
    """Draw one grid for each path length; return those that have such a path and gates, and which ones they are."""
    grids = np.pad(rng.random((len(lengths), size, size)) < density, ((0, 0), (1, 1), (1, 1)))
    start, exists = _pick(_flat(grids), rng)
    kept = np.flatnonzero(exists)
    distances = _distances(grids[kept], start[kept], lengths.max())
    end, exists = _pick(distances == lengths[kept, None], rng)
    kept, end, distances = kept[exists], end[exists], distances[exists]
    grids, start = grids[kept], start[kept]

    path = _shortest_path(distances, end, grids.shape[2], rng)
    cut = _gate(grids, start, end, lambda mazes, _: path[mazes, rng.integers(1, lengths[kept[mazes]])], joined=False)
    found = np.flatnonzero(cut)
    kept, grids, start, end, cut = kept[found], grids[found], start[found], end[found], cut[found]

    # Decoys in the order of likeness, and 0, which is a wall and no gate, where no more are alike.
    unlikeness = _unlikeness(grids, cut, start, end, rng)
    alike = np.argsort(unlikeness, axis=1)[:, :_ATTEMPTS]
    alike[~np.isfinite(np.take_along_axis(unlikeness, alike, axis=1))] = 0
    decoy = _gate(grids, start, end, lambda mazes, attempt: alike[mazes, attempt], joined=True)
    found = np.flatnonzero(decoy)
    return Gated(grids[found], start[found], end[found], cut[found], decoy[found]), kept[found]


def _gate(
    grids: Grids, start: Cells, end: Cells, candidate: Callable[[NDArray[np.int64], int], Cells], joined: bool
) -> Cells:
    """A cell of each maze that, when closed, leaves the markers `joined` or not; 0 where no candidate does.

    `candidate` gives a cell of each of some mazes, at its n-th call.
    """
    gate = np.zeros(len(grids), dtype=np.int64)
    for attempt in range(_ATTEMPTS):
        without = np.flatnonzero(gate == 0)
        if not len(without):
            break
        cell = candidate(without, attempt)
        areas = _flat(ndimage.label(_closed(grids[without], cell), structure=_IN_PLANE)[0])
        rows = np.arange(len(without))
        hit = (areas[rows, start[without]] == areas[rows, end[without]]) == joined
        gate[without[hit]] = cell[hit]
    return gate


def _closed(grids: Grids, cells: Cells) -> Grids:
    """The grids with one cell of each closed."""
    closed = grids.copy()
    _flat(closed)[np.arange(len(grids)), cells] = False
    return closed


def _flat(grids: NDArray[Any]) -> NDArray[Any]:
    """[mazes, cells], a view."""
    return grids.reshape(len(grids), grids.shape[1] * grids.shape[2])


def _pick(allowed: NDArray[np.bool_], rng: np.random.Generator) -> tuple[Cells, NDArray[np.bool_]]:
    """A random allowed cell of each maze, and whether there is one; `allowed` is [mazes, cells]."""
    lots = allowed * rng.random(allowed.shape, dtype=np.float32)
    return np.argmax(lots, axis=1), np.any(allowed, axis=1)


def _steps(width: int) -> NDArray[np.int64]:
    """What leads from a cell to its 4 neighbours."""
    return np.array([-width, -1, 1, width])


def _distances(grids: Grids, start: Cells, at_most: int | None = None) -> NDArray[np.int16]:
    """Length of the shortest path to each cell, by breadth-first search: [mazes, cells], -1 where there is none.

    The search ends at length `at_most`.
    """
    is_open = grids.ravel()
    distances = np.full(is_open.size, -1, dtype=np.int16)
    frontier = start + np.arange(len(grids)) * _flat(grids).shape[1]
    length = 0
    while len(frontier):
        distances[frontier] = length
        if length == at_most:
            break
        neighbours = (frontier[:, None] + _steps(grids.shape[2])).ravel()
        frontier = np.unique(neighbours[is_open[neighbours] & (distances[neighbours] < 0)])
        length += 1
    return _flat(distances.reshape(grids.shape))


def _shortest_path(distances: NDArray[np.int16], end: Cells, width: int, rng: np.random.Generator) -> Cells:
    """A random shortest path of each maze from its start to its end: [mazes, longest + 1], padded by its start."""
    mazes = np.arange(len(end))
    cell, remaining = end, distances[mazes, end]
    path = np.zeros((len(end), remaining.max(initial=0) + 1), dtype=np.int64)
    while (remaining > 0).any():
        path[mazes, remaining] = cell
        neighbours = cell[:, None] + _steps(width)
        nearer = np.take_along_axis(distances, neighbours, axis=1) == remaining[:, None] - 1
        onward = neighbours[mazes, (nearer * rng.random(nearer.shape)).argmax(axis=1)]
        cell = np.where(remaining > 0, onward, cell)
        remaining = np.maximum(remaining - 1, 0)
    path[mazes, 0] = cell
    return path


def _unlikeness(grids: Grids, cut: Cells, start: Cells, end: Cells, rng: np.random.Generator) -> NDArray[np.float64]:
    """How unlike the cut each cell is: [mazes, cells]; infinite where it cannot be a decoy.

    A decoy has the cut's surroundings, touches as many borders, and has a marker at its side or corner if the cut has;
    of such cells those come first whose distances to the nearer and the farther marker are most like the cut's.
    """
    mazes = np.arange(len(grids))[:, None]
    width = grids.shape[2]
    cells = np.arange(_flat(grids).shape[1])[None]
    cut = cut[:, None]
    markers = [marker[:, None] for marker in (start, end)]
    near, far = np.sort([_distance(cells, marker, width) for marker in markers], axis=0)
    borders = sum((place == border).astype(int) for place in np.divmod(cells, width) for border in (1, width - 2))
    alike = _flat(grids).copy()
    # From 2 steps on, equal distances would be asking too much: few mazes have such a decoy.
    for trait in (_surroundings(grids), np.broadcast_to(borders, alike.shape), np.minimum(near, 2)):
        alike &= trait == trait[mazes, cut]
    for cell in (cut, *markers):
        alike[mazes, cell] = False
    unlikeness = 2 * np.abs(near - near[mazes, cut]) + np.abs(far - far[mazes, cut])
    return np.where(alike, unlikeness + 0.1 * rng.random(alike.shape), np.inf)  # chance decides about ties


def _distance(cells: Cells, others: Cells, width: int) -> NDArray[np.float64]:
    """As the crow flies."""
    (row, column), (other_row, other_column) = np.divmod(cells, width), np.divmod(others, width)
    return np.hypot(row - other_row, column - other_column)


def _surroundings(grids: Grids) -> NDArray[np.uint8]:
    """A number for which of a cell's 8 neighbours are open, up to rotation and reflection: [mazes, cells]."""
    ring = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))  # clockwise
    patterns = np.zeros(grids.shape, dtype=np.uint8)
    for bit, (row, column) in enumerate(ring):
        # Rolling wraps round, but only within the wall.
        patterns |= np.roll(grids, (-row, -column), axis=(1, 2)).astype(np.uint8) << bit
    return _SMALLEST_IMAGE[_flat(patterns)]


def _smallest_image(pattern: int) -> int:
    """The least of the 8 images of a ring pattern under the symmetries of the square."""
    bits = [pattern >> bit & 1 for bit in range(8)]
    mirrored = [bits[-bit] for bit in range(8)]  # corners, at even places, remain corners
    images = [direction[turn:] + direction[:turn] for direction in (bits, mirrored) for turn in (0, 2, 4, 6)]
    return min(sum(value << bit for bit, value in enumerate(image)) for image in images)


_SMALLEST_IMAGE = np.array([_smallest_image(pattern) for pattern in range(256)], dtype=np.uint8)
