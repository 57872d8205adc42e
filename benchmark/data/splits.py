"""Stratified subsets, chosen by a hash of the sample's index: the same for every run, seed and machine.

The samples of a class are ranked by their hash and the first ones are taken, so a larger subset contains a smaller one.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

from benchmark.data.raw import RawSplit
from benchmark.errors import UserError


def hold_out(split: RawSplit, amount: float, name: str) -> tuple[RawSplit, RawSplit]:
    """Divide `split` into (rest, held out), stratified by label.

    Args:
        split: what to divide.
        amount: a share of the samples if below 1, else their number.
        name: what is held out ("validation"); names the random stream, and the parameter in messages.

    Raises:
        UserError: `amount` is not possible.
    """
    samples = len(split.labels)
    held = stratified_indices(split.labels, held_out(amount, samples, name), name)
    return split.subset(np.setdiff1d(np.arange(samples), held)), split.subset(held)


def held_out(amount: float, samples: int, name: str) -> int:
    """How many of `samples` samples `hold_out` holds out."""
    count = round(amount * samples) if amount < 1 else int(amount)
    if not 0 < count < samples or (amount >= 1 and count != amount):
        raise UserError(
            f"{name}: {amount:g} cannot be held out of {samples} samples; give a share between 0 and 1, "
            f"or a whole number below {samples}"
        )
    return count


def cap(split: RawSplit, samples: int | None, name: str) -> RawSplit:
    """At most `samples` samples of `split`, stratified by label; all of them for None.

    Raises:
        UserError: `samples` is not positive.
    """
    count = capped(samples, len(split.labels), name)
    return split if count == len(split.labels) else split.subset(stratified_indices(split.labels, count, name))


def capped(samples: int | None, available: int, name: str) -> int:
    """How many of the `available` samples `cap` keeps."""
    if samples is not None and samples < 1:
        raise UserError(f"{name}: {samples} samples cannot be used; give a positive number, or leave it out for all")
    return available if samples is None else min(samples, available)


def stratified_indices(labels: NDArray[np.int64], count: int, stream: str) -> NDArray[np.int64]:
    """Ascending indices of `count` samples, labels distributed as in `labels` to within one sample a class."""
    hashes = np.array([_hash(f"{stream}:{index}") for index in range(len(labels))], dtype=np.uint64)
    classes, sizes = np.unique(labels, return_counts=True)
    exact = count * sizes / len(labels)
    quotas = np.floor(exact).astype(int)
    largest_remainders = np.argsort(quotas - exact, kind="stable")[: count - quotas.sum()]
    quotas[largest_remainders] += 1
    chosen = []
    for label, quota in zip(classes, quotas, strict=True):
        members = np.flatnonzero(labels == label)
        chosen.append(members[np.argsort(hashes[members], kind="stable")[:quota]])
    return np.sort(np.concatenate(chosen))


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
