"""Mazes with two marked cells: are they joined by an open path? The path's length is a dial that computation overcomes.

Each maze is drawn with two look-alike gates (`benchmark.data.percolation`), and a coin decides which of them is closed:
the *cut*, which separates the markers, or the *decoy*, which does not. Hence the two classes agree exactly in the
distributions of the markers' places and distances, of the number of open cells, and of the path's length with both
gates open; local patterns differ only by where a gate is.

With `fog`, two cells of some mazes are hidden, in three ways of equal share. The state of a hidden cell, and a marker
on it, cannot be seen; a third channel shows which cells are hidden. (A third value in the first channel would mix "not
known" with "half open".) Two of the three ways make the question unanswerable:

- *endpoint hidden* (hopeless, obvious): only one marker is seen. The decoy is closed, and the other marker is on one of
  two hidden cells, a joined one or one apart: a coin decides.
- *gate hidden* (hopeless, subtle): both gates are hidden. Whether the markers are joined depends on which is closed.
- *harmless fog*: two open cells are hidden that do not matter: the decoy or the cut is closed for all to see, and the
  answer is the same whatever the hidden cells are. They look as much like gates as the maze has cells that do.

In the hopeless mazes everything that is seen is drawn before the coin is tossed. So the same image arises with both
labels equally often, and no observer has more than half of them right, except by chance. In all ways, which cells are
hidden does not depend on the label.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.data.percolation import Cells, Gated, Grids, closed, flat, gated_mazes, path_lengths
from benchmark.data.raw import Facts, RawDataset, RawSplit
from benchmark.errors import UserError

_CLASSES = ("not joined", "joined")
GROUPS = ("clear", "endpoint hidden", "gate hidden", "harmless fog")
CLEAR, ENDPOINT, GATE, HARMLESS = range(4)
HOPELESS = (ENDPOINT, GATE)


def generate(
    folder: Path,
    *,
    size: int = 20,
    density: float = 0.62,
    longest: int = 48,
    fog: float = 0.0,
    train: int = 8000,
    validation: int = 1000,
    test: int = 2000,
    seed: int = 0,
) -> RawDataset:
    """Mazes [2, size, size]: channel 0 shows the open cells, channel 1 the two markers; with fog, 2 the hidden cells.

    Args:
        folder: not used.
        size: cells per side.
        density: the probability that a cell is open; paths are longest near the percolation threshold, 0.593.
        longest: with both gates open, paths of 2 steps to this many are equally frequent on a logarithmic scale.
        fog: share of the mazes with hidden cells, in equal parts for the three ways to hide them; with any, each sample
            has one of the groups `GROUPS`.
        train: training samples.
        validation: validation samples.
        test: test samples.
        seed: of the mazes; not the seed of a run, for all runs share the data.
    """
    if size < 4 or not 0 < density < 1 or longest < 2 or min(train, validation, test) < 2:
        raise UserError(
            f"maze: size {size} (at least 4), density {density:g} (between 0 and 1), longest {longest} (at least 2) "
            f"and {train}, {validation} and {test} samples (at least 2 each) are invalid parameters"
        )
    if fog and not (0 < fog <= 1 and _of_each_way(min(train, validation, test), fog)):
        raise UserError(
            f"maze: fog {fog:g} must be from 0 to 1, and large enough for 2 samples of each of 3 ways in every split, "
            f"of {train}, {validation} and {test} samples"
        )
    streams = np.random.default_rng(seed).spawn(3)
    return RawDataset(
        classes=_CLASSES,
        train=_split(train, size, density, longest, fog, streams[0]),
        validation=_split(validation, size, density, longest, fog, streams[1]),
        test=_split(test, size, density, longest, fog, streams[2]),
        difficulty_name="shortest path length",
        groups=GROUPS if fog else (),
    )


def describe(folder: Path, *, size: int, fog: float, train: int, validation: int, test: int, **_: Any) -> Facts:
    """Shape, classes and sizes for the same parameters, without drawing anything."""
    return Facts((3 if fog else 2, size, size), _CLASSES, train, validation, test)


def _of_each_way(samples: int, fog: float) -> int:
    """How many samples each way of hiding gets: an even number, so that its classes balance."""
    return 2 * int(samples * fog / 6 + 1e-9)


def _split(samples: int, size: int, density: float, longest: int, fog: float, rng: np.random.Generator) -> RawSplit:
    mazes = gated_mazes(samples, size, density, longest, rng, to_hide=fog > 0)
    hidden = np.repeat([ENDPOINT, GATE, HARMLESS], _of_each_way(samples, fog))
    group = np.pad(hidden, (0, samples - len(hidden)), constant_values=CLEAR)
    order = rng.permutation(samples)
    group, joined = group[order], order % 2 == 0  # half of each group
    images = render(mazes, group, joined)
    return RawSplit(
        labels=joined.astype(np.int64),
        read=(images if fog else images[:, :2]).__getitem__,
        difficulty=_difficulty(mazes, group, joined),
        group=group.astype(np.int8) if fog else None,
    )


def render(mazes: Gated, group: NDArray[np.int64], joined: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """What is seen of mazes of these groups and labels: open cells, markers, hidden cells, [mazes, 3, size, size]."""
    grids, end = _truth(mazes, group, joined)
    hidden = np.zeros_like(grids)
    for way, cells in (
        (ENDPOINT, (mazes.end, mazes.apart)),
        (GATE, (mazes.cut, mazes.decoy)),
        (HARMLESS, tuple(mazes.harmless.T)),
    ):
        chosen = np.flatnonzero(group == way)
        for cell in cells:
            flat(hidden)[chosen, cell[chosen]] = True
    markers = np.zeros_like(grids)
    for marker in (mazes.start, end):
        flat(markers)[np.arange(len(grids)), marker] = True
    return np.stack([grids & ~hidden, markers & ~hidden, hidden], axis=1)[:, :, 1:-1, 1:-1] * np.uint8(255)


def _truth(mazes: Gated, group: NDArray[np.int64], joined: NDArray[np.bool_]) -> tuple[Grids, Cells]:
    """The grids with one gate closed, and the second marker, so that the markers are joined or not."""
    endpoint = group == ENDPOINT
    gate = np.where(joined | endpoint, mazes.decoy, mazes.cut)
    return closed(mazes.grids, gate), np.where(endpoint & ~joined, mazes.apart, mazes.end)


def _difficulty(mazes: Gated, group: NDArray[np.int64], joined: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Length of the shortest path that is seen to be open; NaN where there is none or it cannot be known."""
    grids, end = _truth(mazes, group, joined)
    fogged = group == HARMLESS
    for cell in mazes.harmless.T:
        flat(grids)[fogged, cell[fogged]] = False
    lengths = path_lengths(grids, mazes.start)[np.arange(len(grids)), end].astype(np.float32)
    lengths[~joined | np.isin(group, HOPELESS)] = np.nan
    return lengths
