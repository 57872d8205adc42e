"""Parity: is the number of ones odd? Its dial is the number of entries that matter.

The task of ACT (Graves 2016, arXiv 1603.08983, section 3.1) and of PonderNet (Banino et al. 2021, arXiv 2107.05407,
section 4.1): a vector holds a random number of entries that are 1 or -1, the rest are 0, and the target is 1 if there
is an odd number of ones. Here the vector is a square image, since every method of the suite takes images and strided
convolutions need both sides. Nothing is lost: entries stand at random places and parity does not depend on their order.

Every entry can change the answer. So except for vectors of a single entry, no statistic of a part of the vector says
anything about the label: parity is uncorrelated with every function of fewer entries (Minsky & Papert 1969).
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.data.raw import Facts, RawDataset, RawSplit
from benchmark.errors import UserError

_CLASSES = ("even", "odd")
#: Grey values for -1, 0 and 1.
_VALUES = np.array([0, 128, 255], dtype=np.uint8)


def generate(
    folder: Path,
    *,
    size: int = 8,
    train_longest: int | None = None,
    longest: int | None = None,
    train: int = 16000,
    validation: int = 1000,
    test: int = 2000,
    seed: int = 0,
) -> RawDataset:
    """Vectors of size x size numbers as images [1, size, size] with values 0, 128 and 255 for -1, 0 and 1.

    Numbers of entries from 1 to the longest are equally frequent, with as many odd samples as even ones of each.

    Args:
        folder: not used.
        size: numbers per side; 8 gives the papers' 64.
        train_longest: at most this many entries in training and validation samples; None for all. With fewer than
            `longest`, the test split shows extrapolation, as in PonderNet's section 4.1 (48 of 96).
        longest: at most this many entries in test samples; None for all.
        train: training samples.
        validation: validation samples.
        test: test samples.
        seed: of the vectors; not the seed of a run, for all runs share the data.
    """
    numbers = size * size
    shown, asked = (numbers if most is None else most for most in (train_longest, longest))
    if size < 2 or not 1 <= shown <= numbers or not 1 <= asked <= numbers or min(train, validation, test) < 2:
        raise UserError(
            f"parity: size {size} (at least 2), train_longest {train_longest} and longest {longest} (1 to {numbers}) "
            f"and {train}, {validation} and {test} samples (at least 2 each) are invalid parameters"
        )
    streams = np.random.default_rng(seed).spawn(3)
    return RawDataset(
        classes=_CLASSES,
        train=_split(train, size, shown, streams[0]),
        validation=_split(validation, size, shown, streams[1]),
        test=_split(test, size, asked, streams[2]),
        difficulty_name="numbers that are not 0",
    )


def describe(folder: Path, *, size: int, train: int, validation: int, test: int, **_: Any) -> Facts:
    """Shape, classes and sizes for the same parameters, without drawing anything."""
    return Facts((1, size, size), _CLASSES, train, validation, test)


def _split(samples: int, size: int, longest: int, rng: np.random.Generator) -> RawSplit:
    order = rng.permutation(samples)
    labels, entries = order % 2, 1 + order // 2 % longest
    vectors = _vectors(labels, entries, size * size, rng)
    images = _VALUES[vectors + 1].reshape(samples, 1, size, size)
    return RawSplit(labels, images.__getitem__, entries.astype(np.float32))


def _vectors(
    labels: NDArray[np.int64], entries: NDArray[np.int64], numbers: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """A random vector of -1, 0 and 1 for each label and number of entries: [samples, numbers].

    Signs are drawn freely, and one entry then flips where the parity is wrong: that maps the vectors of one parity one
    to one on those of the other, so all vectors of the right parity are equally likely.
    """
    places = rng.random((len(labels), numbers)).argsort(axis=1)  # a permutation: place of each entry
    signs = rng.choice([-1, 1], size=places.shape)
    signs *= np.arange(numbers) < entries[:, None]
    wrong = (signs == 1).sum(axis=1) % 2 != labels
    signs[wrong, 0] *= -1
    vectors = np.empty_like(signs)
    np.put_along_axis(vectors, places, signs, axis=1)
    return vectors
