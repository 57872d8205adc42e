"""Gated mazes: percolation grids with two markers that are joined, and two cells of which one is to be closed.

Mazes are percolation grids: each cell is open with a certain probability. Only following the path (the connectedness of
Minsky & Papert 1969) may reveal whether the markers are joined. So each maze is made from a grid in which they are, by
closing one of two *gates*:

- the *cut*: an open cell through which every path between the markers leads; closed, they are not joined;
- the *decoy*: an open cell that looks alike (its 8 neighbours are the same up to rotation and reflection; it touches as
  many borders; it has a marker at its side, or at its corner, if the cut has) and is about as far from both markers,
  but without which they remain joined.

Grid, markers and gates are drawn first; the caller tosses a coin to decide which gate is closed.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmark.errors import UserError

# Grids are padded by a wall all round: bool [mazes, size + 2, size + 2], True where open. A cell is an index into its
# own flattened grid, so that a step to a neighbour is the addition of a constant.
Grids = NDArray[np.bool_]
Cells = NDArray[np.int64]

_DRAWN = 2048  # grids drawn at a time
_ATTEMPTS = 8  # cells tried as a gate before a grid is discarded
_FRUITLESS = 50  # draws without a new maze before the parameters are refused
_IN_PLANE = np.array([[[0] * 3] * 3, [[0, 1, 0], [1, 1, 1], [0, 1, 0]], [[0] * 3] * 3])  # no step from maze to maze


@dataclass(frozen=True)
class Gated:
    """Grids in which the markers are joined, and their two gates; each [mazes, ...].

    Attributes:
        grids: the open cells.
        start, end: the markers.
        cut, decoy: the gates.
        harmless: two other open cells, as much like the cut as the maze has, without which (and without the decoy) the
            markers remain joined: [mazes, 2]; 0 where none were asked for.
        apart: an open cell that is not joined with the markers when the decoy is closed; 0 where none was asked for.
    """

    grids: Grids
    start: Cells
    end: Cells
    cut: Cells
    decoy: Cells
    harmless: Cells
    apart: Cells


def gated_mazes(
    samples: int, size: int, density: float, longest: int, rng: np.random.Generator, to_hide: bool = False
) -> Gated:
    """As many gated mazes, in random order, whose path lengths are spread log-uniformly from 2 to `longest`.

    Args:
        samples: how many.
        size: cells per side.
        density: the probability that a cell is open.
        longest: the longest path between the markers, with both gates open.
        rng: random numbers.
        to_hide: whether every maze also has harmless cells and a cell apart.

    Raises:
        UserError: paths of some length are too rare.
    """
    lengths = np.arange(2, longest + 2)
    below = samples * np.log(lengths / 2) / np.log((longest + 1) / 2)  # as many have a path shorter than this
    wanted = np.zeros(longest + 1, dtype=np.int64)  # by length: how many are still to be found
    wanted[2:] = np.diff(below.round().astype(np.int64))
    found: list[Gated] = []
    fruitless = 0
    while wanted.any():
        lengths = rng.choice(longest + 1, size=_DRAWN, p=wanted / wanted.sum())
        gated, kept = _draw(lengths, size, density, rng, to_hide)
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
                f"maze: at size {size} and density {density:g} no paths of length {missing} are found; "
                "lower `longest`, or choose a density nearer to 0.6"
            )
    everything = Gated(*(np.concatenate([getattr(part, field.name) for part in found]) for field in fields(Gated)))
    return _take(everything, rng.permutation(samples))


def _take(gated: Gated, indices: NDArray[np.int64]) -> Gated:
    return Gated(*(getattr(gated, field.name)[indices] for field in fields(Gated)))


def _draw(
    lengths: Cells, size: int, density: float, rng: np.random.Generator, to_hide: bool
) -> tuple[Gated, NDArray[np.int64]]:
    """Draw one grid for each path length; return those that have all that is asked for, and which ones they are."""
    grids = np.pad(rng.random((len(lengths), size, size)) < density, ((0, 0), (1, 1), (1, 1)))
    start, exists = _pick(flat(grids), rng)
    kept = np.flatnonzero(exists)
    distances = path_lengths(grids[kept], start[kept], lengths.max())
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
    nothing = np.zeros_like(found)
    gated = Gated(
        grids[found], start[found], end[found], cut[found], decoy[found],
        harmless=np.stack([nothing, nothing], axis=1), apart=nothing,
    )  # fmt: skip
    if to_hide:
        gated = replace(gated, harmless=_harmless(gated, rng), apart=_apart(gated, rng))
        complete = np.flatnonzero(gated.harmless.all(axis=1) & (gated.apart > 0))
        return _take(gated, complete), kept[found[complete]]
    return gated, kept[found]


def _harmless(gated: Gated, rng: np.random.Generator) -> Cells:
    """See `Gated`: [mazes, 2], 0 where there are none."""
    unlikeness = _unlikeness(gated.grids, gated.cut, gated.start, gated.end, rng, penalty=100.0)
    alike = np.argsort(unlikeness, axis=1)[:, : 2 * _ATTEMPTS]
    alike[~np.isfinite(np.take_along_axis(unlikeness, alike, axis=1)) | (alike == gated.decoy[:, None])] = 0
    grids, cells = closed(gated.grids, gated.decoy), []
    for first in range(2):  # every other candidate for the first cell, the rest for the second: they differ

        def candidate(mazes: NDArray[np.int64], attempt: int, first: int = first) -> Cells:
            return alike[mazes, 2 * attempt + first]

        cells.append(_gate(grids, gated.start, gated.end, candidate, joined=True))
        grids = closed(grids, cells[-1])
    return np.stack(cells, axis=1)


def _apart(gated: Gated, rng: np.random.Generator) -> Cells:
    """See `Gated`: [mazes], 0 where there is none."""
    grids = closed(gated.grids, gated.decoy)
    cell, exists = _pick(flat(grids) & (path_lengths(grids, gated.start) < 0), rng)
    return np.where(exists, cell, 0)


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
        areas = flat(ndimage.label(closed(grids[without], cell), structure=_IN_PLANE)[0])
        rows = np.arange(len(without))
        hit = (areas[rows, start[without]] == areas[rows, end[without]]) == joined
        gate[without[hit]] = cell[hit]
    return gate


def closed(grids: Grids, cells: Cells) -> Grids:
    """The grids with one cell of each closed."""
    closed = grids.copy()
    flat(closed)[np.arange(len(grids)), cells] = False
    return closed


def flat(grids: NDArray[Any]) -> NDArray[Any]:
    """[mazes, cells], a view."""
    return grids.reshape(len(grids), grids.shape[1] * grids.shape[2])


def _pick(allowed: NDArray[np.bool_], rng: np.random.Generator) -> tuple[Cells, NDArray[np.bool_]]:
    """A random allowed cell of each maze, and whether there is one; `allowed` is [mazes, cells]."""
    lots = allowed * rng.random(allowed.shape, dtype=np.float32)
    return np.argmax(lots, axis=1), np.any(allowed, axis=1)


def _steps(width: int) -> NDArray[np.int64]:
    """Index offsets from a cell to its 4 neighbours."""
    return np.array([-width, -1, 1, width])


def path_lengths(grids: Grids, start: Cells, at_most: int | None = None) -> NDArray[np.int16]:
    """Length of the shortest path to each cell, by breadth-first search: [mazes, cells], -1 where there is none.

    The search ends at length `at_most`.
    """
    is_open = grids.ravel()
    distances = np.full(is_open.size, -1, dtype=np.int16)
    frontier = start + np.arange(len(grids)) * flat(grids).shape[1]
    length = 0
    while len(frontier):
        distances[frontier] = length
        if length == at_most:
            break
        neighbours = (frontier[:, None] + _steps(grids.shape[2])).ravel()
        frontier = np.unique(neighbours[is_open[neighbours] & (distances[neighbours] < 0)])
        length += 1
    return flat(distances.reshape(grids.shape))


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


def _unlikeness(
    grids: Grids, cut: Cells, start: Cells, end: Cells, rng: np.random.Generator, penalty: float = np.inf
) -> NDArray[np.float64]:
    """How unlike the cut each cell is: [mazes, cells]; infinite where it cannot be a gate.

    A decoy has the cut's surroundings, touches as many borders, and has a marker at its side or corner if the cut has;
    a cell pays `penalty` for each of these that it lacks. Of equal cells those come first whose distances to the nearer
    and the farther marker are most like the cut's.
    """
    mazes = np.arange(len(grids))[:, None]
    width = grids.shape[2]
    cells = np.arange(flat(grids).shape[1])[None]
    cut = cut[:, None]
    markers = [marker[:, None] for marker in (start, end)]
    near, far = np.sort([_distance(cells, marker, width) for marker in markers], axis=0)
    borders = sum((place == border).astype(int) for place in np.divmod(cells, width) for border in (1, width - 2))
    possible = flat(grids).copy()
    for cell in (cut, *markers):
        possible[mazes, cell] = False
    unlikeness = 2 * np.abs(near - near[mazes, cut]) + np.abs(far - far[mazes, cut])
    unlikeness += 0.1 * rng.random(possible.shape)  # breaks ties at random
    # From 2 steps on, equal distances would be asking too much: few mazes have such a decoy.
    for trait in (_surroundings(grids), np.broadcast_to(borders, possible.shape), np.minimum(near, 2)):
        unlikeness[trait != trait[mazes, cut]] += penalty
    return np.where(possible, unlikeness, np.inf)


def _distance(cells: Cells, others: Cells, width: int) -> NDArray[np.float64]:
    """Euclidean distance."""
    (row, column), (other_row, other_column) = np.divmod(cells, width), np.divmod(others, width)
    return np.hypot(row - other_row, column - other_column)


def _surroundings(grids: Grids) -> NDArray[np.uint8]:
    """A number for which of a cell's 8 neighbours are open, up to rotation and reflection: [mazes, cells]."""
    ring = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))  # clockwise
    patterns = np.zeros(grids.shape, dtype=np.uint8)
    for bit, (row, column) in enumerate(ring):
        # Rolling wraps around, but only within the wall.
        patterns |= np.roll(grids, (-row, -column), axis=(1, 2)).astype(np.uint8) << bit
    return _SMALLEST_IMAGE[flat(patterns)]


def _smallest_image(pattern: int) -> int:
    """The least of the 8 images of a ring pattern under the symmetries of the square."""
    bits = [pattern >> bit & 1 for bit in range(8)]
    mirrored = [bits[-bit] for bit in range(8)]  # corners, at even places, remain corners
    images = [direction[turn:] + direction[:turn] for direction in (bits, mirrored) for turn in (0, 2, 4, 6)]
    return min(sum(value << bit for bit, value in enumerate(image)) for image in images)


_SMALLEST_IMAGE = np.array([_smallest_image(pattern) for pattern in range(256)], dtype=np.uint8)
