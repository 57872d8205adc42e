"""Two frames of Ising spins, the second moved by one step: up, down, left or right? Its dial is closer to noise.

The authors of DynaLay use such a task in their follow-up (MIND, ICLR 2025). Both frames are windows into one larger
configuration, so the row or column that comes into view is drawn like all others and the border gives nothing away.
Flipping all spins of a sample leaves its label and its probability as they are, hence no linear function of the pixels
predicts the label. Then a share of the second frame's spins is refreshed: drawn again, up or down with equal
probability. That share is the difficulty: only the other spins are evidence of the movement.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.data.raw import Facts, RawDataset, RawSplit
from benchmark.errors import UserError

#: The classes, and the second frame's offset from the first: what moves up is seen by a window that moves down.
_OFFSETS = {"up": (1, 0), "down": (-1, 0), "left": (0, 1), "right": (0, -1)}
_SWEEPS = 100
_CHUNK = 256  # lattices simulated at a time: few enough to stay in the processor's cache


def generate(
    folder: Path,
    *,
    size: int = 16,
    coldest: float = 2.0,
    hottest: float = 3.5,
    most_refreshed: float = 0.95,
    train: int = 8000,
    validation: int = 1000,
    test: int = 2000,
    seed: int = 0,
) -> RawDataset:
    """Pairs of frames [2, size, size] with values 0 (spin down) and 255 (spin up).

    Args:
        folder: not used.
        size: spins per side of a frame.
        coldest: the lowest temperature (coupling and Boltzmann's constant are 1; the critical one is 2.269); each
            sample's is drawn uniformly. In the cold, domains are large and only their borders show the movement.
        hottest: the highest temperature.
        most_refreshed: the largest share of refreshed spins; each sample's is drawn uniformly from 0 to this.
        train: training samples.
        validation: validation samples.
        test: test samples.
        seed: of the spins; not the seed of a run, for all runs share the data.
    """
    if size < 4 or not 0 < coldest <= hottest or not 0 <= most_refreshed <= 1 or min(train, validation, test) < 4:
        raise UserError(
            f"ising: size {size} (at least 4), temperatures {coldest:g} to {hottest:g} (above 0, ascending), "
            f"most_refreshed {most_refreshed:g} (0 to 1) and {train}, {validation} and {test} samples "
            "(at least 4 each) are invalid parameters"
        )
    streams = np.random.default_rng(seed).spawn(3)

    def split(samples: int, rng: np.random.Generator) -> RawSplit:
        temperatures = rng.uniform(coldest, hottest, samples)
        refreshed = rng.uniform(0, most_refreshed, samples)
        labels = rng.permutation(np.arange(samples) % len(_OFFSETS))
        return RawSplit(labels, _frames(size, temperatures, refreshed, labels, rng).__getitem__, refreshed.astype("f4"))

    return RawDataset(
        classes=tuple(_OFFSETS),
        train=split(train, streams[0]),
        validation=split(validation, streams[1]),
        test=split(test, streams[2]),
        difficulty_name="share of refreshed spins",
    )


def describe(folder: Path, *, size: int, train: int, validation: int, test: int, **_: Any) -> Facts:
    """Shape, classes and sizes for the same parameters, without drawing anything."""
    return Facts((2, size, size), tuple(_OFFSETS), train, validation, test)


def _frames(
    size: int,
    temperatures: NDArray[np.float64],
    refreshed: NDArray[np.float64],
    labels: NDArray[np.int64],
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    """Both frames of each sample: [samples, 2, size, size]."""
    samples = len(labels)
    side = size + 2 + size % 2  # one more spin all round; even, as a checkerboard on a torus needs
    spins = np.concatenate(
        [configurations(side, temperatures[start : start + _CHUNK], rng) for start in range(0, samples, _CHUNK)]
    )
    frames = np.empty((samples, 2, size, size), dtype=np.int8)
    frames[:, 0] = spins[:, 1 : 1 + size, 1 : 1 + size]
    for label, (row, column) in enumerate(_OFFSETS.values()):
        moved = spins[:, 1 + row : 1 + row + size, 1 + column : 1 + column + size]
        frames[labels == label, 1] = moved[labels == label]
    noise = rng.choice(np.array([-1, 1], dtype=np.int8), size=(samples, size, size))
    frames[:, 1] = np.where(rng.random(noise.shape) < refreshed[:, None, None], noise, frames[:, 1])
    return (frames > 0) * np.uint8(255)


def configurations(side: int, temperatures: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int8]:
    """One Ising configuration on a torus for each temperature, spins -1 or 1: int8 [temperatures, side, side].

    Heat bath, the two colours of the checkerboard in turn, 100 sweeps from random spins.
    """
    fields = np.arange(-4, 5, 2)
    up = (1 / (1 + np.exp(-2 * fields / temperatures[:, None]))).astype(np.float32)  # [temperatures, 5]
    row = np.arange(len(temperatures))[:, None, None] * len(fields)
    black = np.indices((side, side)).sum(axis=0) % 2 == 0
    spins = rng.choice(np.array([-1, 1], dtype=np.int8), size=(len(temperatures), side, side))
    for _ in range(_SWEEPS):
        for colour in (black, ~black):
            field = sum(np.roll(spins, step, axis) for axis in (1, 2) for step in (-1, 1))
            drawn = rng.random(spins.shape, dtype=np.float32) < up.ravel()[row + (field + 4) // 2]
            np.copyto(spins, np.where(drawn, np.int8(1), np.int8(-1)), where=colour)
    return spins
