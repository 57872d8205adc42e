"""Rows of a batch: taken out, put back, and split into those that leave and those that stay.

Nothing is copied where all rows are meant, as in most of training. Where some are, whole rows are copied as blocks of
memory, whatever the layout: indexing an image batch in any other way takes 3 to 12 times as long on a CPU.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def take(whole: Tensor, rows: Tensor) -> Tensor:
    """`whole[rows]`, in the layout of `whole`; `whole` itself where `rows` are all there are.

    Args:
        whole: [batch, ...].
        rows: int64, distinct rows in order.
    """
    if rows.size(0) == whole.size(0):
        return whole
    return from_blocks(blocks(whole).index_select(0, rows), like=whole)


def put(whole: Tensor, rows: Tensor, part: Tensor) -> Tensor:
    """`whole` with its `rows` replaced by `part`: in place where no graph needs the old values, since copies cost time.

    Args:
        whole: [batch, ...].
        rows: int64, distinct rows in order.
        part: [len(rows), ...]; becomes of the type of `whole`.
    """
    part = part.to(whole.dtype)
    if rows.size(0) == whole.size(0):
        return part
    if torch.is_grad_enabled():
        return replaced(whole, rows, part)
    blocks(whole).index_copy_(0, rows, blocks(part, like=whole))
    return whole


def replaced(whole: Tensor, rows: Tensor, part: Tensor) -> Tensor:
    """As `put`, but `whole` keeps its values."""
    if rows.size(0) == whole.size(0):
        return part
    copied = blocks(whole).index_copy(0, rows, blocks(part.to(whole.dtype), like=whole))
    return from_blocks(copied, like=whole)


def added(whole: Tensor, rows: Tensor, part: Tensor) -> Tensor:
    """`whole` with `part` [len(rows), ...] added to its `rows`."""
    if rows.size(0) == whole.size(0):
        return whole + part
    return from_blocks(blocks(whole).index_add(0, rows, blocks(part, like=whole)), like=whole)


def partition(leaves: Tensor) -> tuple[Tensor, Tensor]:
    """Where `leaves` [rows] is true and where it is false, each int64 in order; waits for the device once."""
    count = int(leaves.sum())
    if count in (0, leaves.size(0)):
        every = torch.arange(leaves.size(0), device=leaves.device)
        return (every, every[:0]) if count else (every[:0], every)
    order = leaves.byte().argsort(stable=True)
    return order[leaves.size(0) - count :], order[: leaves.size(0) - count]


def gathered(rows: Sequence[Tensor], parts: Sequence[Tensor]) -> Tensor:
    """One batch again from `parts`, each of which belongs to the `rows` beside it; together they are all rows."""
    if len(parts) == 1:
        return parts[0]
    whole = torch.cat(list(parts))
    order = torch.cat(list(rows)).argsort()
    return from_blocks(blocks(whole).index_select(0, order), like=whole)


def blocks(batch: Tensor, like: Tensor | None = None) -> Tensor:
    """A view of `batch` in which each row lies in memory as a block, if `batch` (or `like`) is channels-last."""
    return batch.permute(0, 2, 3, 1) if _is_channels_last(batch if like is None else like) else batch


def from_blocks(rows: Tensor, like: Tensor) -> Tensor:
    """What `blocks` made of a batch in the layout of `like`, back in the order of its dimensions."""
    return rows.permute(0, 3, 1, 2) if _is_channels_last(like) else rows


def _is_channels_last(batch: Tensor) -> bool:
    if batch.dim() != 4 or batch.is_contiguous():
        return False
    return batch.is_contiguous(memory_format=torch.channels_last)
