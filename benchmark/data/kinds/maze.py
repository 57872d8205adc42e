"""Mazes with two marked cells: joined by an open path, or not?  The path's length is a dial that computation overcomes.

Mazes are percolation grids: each cell is open with a certain probability.  Nothing short of following the path (the
connectedness of Minsky & Papert 1969) must tell whether the markers are joined.  So each maze is made from a grid in
which they are, by closing one of two *gates*:

- the *cut*: an open cell through which every path between the markers leads; closed, they are not joined;
- the *decoy*: an open cell that looks alike (its 8 neighbours are the same up to rotation and reflection), about as far
  from the markers, but without which they remain joined.

Grid, markers and gates are drawn first, and a toss of a coin then decides which gate is closed.  Hence the two classes
agree exactly in the distributions of the markers' places and distances, of the number of open cells, and of the path's
length with both gates open; local patterns differ only by where a gate lies.
"""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmark.data.raw import RawDataset, RawSplit
from benchmark.errors import UserError

# Grids are padded by a wall all round, bool [mazes, size + 2, size + 2], True where open; cells are int64 [mazes], flat
# indices into that whole array, so that a step to a neighbour is the addition of a constant.
Grids = NDArray[np.bool_]
Cells = NDArray[np.int64]

_DRAWN = 2048  # grids drawn at a time
_ATTEMPTS = 8  # cells tried as a gate before a grid is given up
_FRUITLESS = 50  # draws without one new maze after which the parameters are given up
_IN_PLANE = np.array([[[0] * 3] * 3, [[0, 1, 0], [1, 1, 1], [0, 1, 0]], [[0] * 3] * 3])  # no step from maze to maze


@dataclass(frozen=True)
class Gated:
    """Grids in which the markers are joined, and their two gates.  Each [mazes, ...]; cells within their own grid."""

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
        classes=("not joined", "joined"),
        train=_split(train, size, density, longest, streams[0]),
        validation=_split(validation, size, density, longest, streams[1]),
        test=_split(test, size, density, longest, streams[2]),
        difficulty_name="shortest path length",
    )


def _split(samples: int, size: int, density: float, longest: int, rng: np.random.Generator) -> RawSplit:
    gated = _gated_mazes(samples, size, density, longest, rng)
    joined = rng.permutation(np.arange(samples) % 2 == 0)
    grids = gated.grids.copy()
    offset = np.arange(samples) * grids[0].size
    start, end = gated.start + offset, gated.end + offset
    grids.ravel()[np.where(joined, gated.decoy, gated.cut) + offset] = False

    difficulty = _distances(grids, start)[end].astype(np.float32)
    difficulty[~joined] = np.nan
    markers = np.zeros_like(grids)
    markers.ravel()[start] = markers.ravel()[end] = True
    images = np.stack([grids, markers], axis=1)[:, :, 1:-1, 1:-1] * np.uint8(255)
    return RawSplit(joined.astype(np.int64), images.__getitem__, difficulty)


def _gated_mazes(samples: int, size: int, density: float, longest: int, rng: np.random.Generator) -> Gated:
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


def _draw(lengths: NDArray[np.int64], size: int, density: float, rng: np.random.Generator) -> tuple[Gated, Cells]:
    """Draw one grid for each path length; return those that have such a path and gates, and which ones they are."""
    mazes = len(lengths)
    grids = np.pad(rng.random((mazes, size, size)) < density, ((0, 0), (1, 1), (1, 1)))
    start = _pick(grids, rng)
    distances = _distances(grids, start)
    end = _pick((distances == np.repeat(lengths, grids[0].size)).reshape(grids.shape), rng)
    path = _shortest_path(distances, end, lengths.max(), grids.shape[2], rng)

    cut = np.full(mazes, -1)
    for _ in range(_ATTEMPTS):
        candidate = path[rng.integers(1, np.maximum(lengths, 2)), np.arange(mazes)]
        hit = (end >= 0) & (cut < 0) & ~_joined_without(candidate, grids, start, end)
        cut[hit] = candidate[hit]

    decoy = np.full(mazes, -1)
    unlikeness = _unlikeness(grids, cut, start, end, rng)
    for _ in range(_ATTEMPTS):
        candidate = unlikeness.argmin(axis=1) + np.arange(mazes) * grids[0].size
        possible = (cut >= 0) & np.isfinite(unlikeness.ravel()[candidate])
        hit = possible & (decoy < 0) & _joined_without(candidate, grids, start, end)
        decoy[hit] = candidate[hit]
        unlikeness.ravel()[candidate] = np.inf

    kept = np.flatnonzero(decoy >= 0)
    return Gated(grids[kept], *(cells[kept] % grids[0].size for cells in (start, end, cut, decoy))), kept


def _pick(allowed: Grids, rng: np.random.Generator) -> Cells:
    """A random allowed cell of each maze; -1 where there is none."""
    flat = allowed.reshape(len(allowed), -1)
    cell = np.where(flat, rng.random(flat.shape, dtype=np.float32), -1).argmax(axis=1)
    return np.where(flat.any(axis=1), cell + np.arange(len(allowed)) * flat.shape[1], -1)


def _steps(width: int) -> NDArray[np.int64]:
    """What leads from a cell to its 4 neighbours."""
    return np.array([-width, -1, 1, width])


def _distances(grids: Grids, start: Cells) -> NDArray[np.int16]:
    """Length of the shortest path to each cell, flat over all mazes; -1 where there is none.  Breadth-first search."""
    is_open = grids.ravel()
    distances = np.full(is_open.size, -1, dtype=np.int16)
    frontier = start[start >= 0]
    length = 0
    while len(frontier):
        distances[frontier] = length
        neighbours = (frontier[:, None] + _steps(grids.shape[2])).ravel()
        frontier = np.unique(neighbours[is_open[neighbours] & (distances[neighbours] < 0)])
        length += 1
    return distances


def _shortest_path(
    distances: NDArray[np.int16], end: Cells, longest: int, width: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """A random shortest path to each end: [longest + 1, mazes], each maze's cells from its start."""
    cell = np.maximum(end, 0)  # where there is no end: a cell of the wall, from which nothing is followed
    remaining = distances[cell]
    path = np.zeros((longest + 1, len(end)), dtype=np.int64)
    mazes = np.arange(len(end))
    while (remaining > 0).any():
        path[remaining, mazes] = cell
        neighbours = cell[:, None] + _steps(width)
        nearer = distances[neighbours] == remaining[:, None] - 1
        chosen = neighbours[mazes, (nearer * rng.random(nearer.shape)).argmax(axis=1)]
        cell = np.where(remaining > 0, chosen, cell)
        remaining = np.maximum(remaining - 1, 0)
    path[0] = cell
    return path


def _joined_without(closed: Cells, grids: Grids, start: Cells, end: Cells) -> NDArray[np.bool_]:
    """Whether a path still joins the markers when one cell of each maze is closed: bool [mazes]."""
    grids = grids.copy()
    grids.ravel()[closed] = False
    areas = ndimage.label(grids, structure=_IN_PLANE)[0].ravel()
    return (areas[start] == areas[end]) & (areas[start] > 0)


def _unlikeness(grids: Grids, cut: Cells, start: Cells, end: Cells, rng: np.random.Generator) -> NDArray[np.float64]:
    """How unlike the cut each cell is: [mazes, cells]; infinite where it cannot be a decoy.

    A decoy has the cut's surroundings; of such cells, those whose distances to the nearer and to the farther marker are
    most like the cut's come first, ties broken at random.
    """
    surroundings = _surroundings(grids)
    cells = np.arange(grids.size).reshape(len(grids), -1)
    to_markers = np.sort([_manhattan(cells, marker[:, None], grids) for marker in (start, end)], axis=0)
    of_cut = np.sort([_manhattan(cut, marker, grids) for marker in (start, end)], axis=0)
    nearer, farther = np.abs(to_markers - of_cut[:, :, None])
    unlikeness = 2 * nearer + farther + rng.random(cells.shape)
    alike = grids.reshape(cells.shape) & (surroundings[cells] == surroundings[cut][:, None])
    unlikeness[~alike] = np.inf
    for cell in (cut, start, end):
        unlikeness.ravel()[cell] = np.inf
    return unlikeness


def _manhattan(cells: Cells, others: Cells, grids: Grids) -> Cells:
    """Distance in steps between cells of the same mazes, walls disregarded."""
    (rows, columns), (other_rows, other_columns) = (
        np.divmod(each % grids[0].size, grids.shape[2]) for each in (cells, others)
    )
    return np.abs(rows - other_rows) + np.abs(columns - other_columns)


def _surroundings(grids: Grids) -> NDArray[np.uint8]:
    """Which of each cell's 8 neighbours are open, as a number that rotation and reflection leave alone; flat."""
    ring = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))  # clockwise
    patterns = np.zeros(grids.size, dtype=np.uint8)
    for bit, (row, column) in enumerate(ring):
        # Rolling wraps round, but only within the wall.
        patterns |= np.roll(grids, (-row, -column), axis=(1, 2)).ravel().astype(np.uint8) << bit
    return _SMALLEST_IMAGE[patterns]


def _smallest_image(pattern: int) -> int:
    """The least of the 8 images of a ring pattern under the symmetries of the square."""
    bits = [pattern >> bit & 1 for bit in range(8)]
    images = [direction[turn:] + direction[:turn] for direction in (bits, bits[::-1]) for turn in (0, 2, 4, 6)]
    return min(sum(value << bit for bit, value in enumerate(image)) for image in images)


_SMALLEST_IMAGE = np.array([_smallest_image(pattern) for pattern in range(256)], dtype=np.uint8)
