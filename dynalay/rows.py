"""Rows of a batch: taken out, put back, and split into those that leave and those that stay.

Nothing is copied where all rows are meant, as in most of training. Where some are, whole rows are copied as blocks of
memory, whatever the layout: indexing an image batch in any other way takes 3 to 12 times as long on a CPU.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Int64, Shaped
from torch import Tensor

Batch = Shaped[Tensor, "batch *shape"]
Rows = Int64[Tensor, "rows"]
Part = Shaped[Tensor, "rows *shape"]


def take(whole: Batch, rows: Rows) -> Part:
    """`whole[rows]`, in the layout of `whole`; `whole` itself where `rows` are all there are.

    Args:
        whole: [batch, ...].
        rows: int64, distinct rows in order.
    """
    if rows.size(0) == whole.size(0):
        return whole
    return from_blocks(blocks(whole).index_select(0, rows), like=whole)


def put(whole: Batch, rows: Rows, part: Part) -> Batch:
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


def replaced(whole: Shaped[Tensor, "batch ..."], rows: Rows, part: Part) -> Batch:
    """As `put`, but `whole` keeps its values; where `rows` are all there are, its shape does not matter."""
    if rows.size(0) == whole.size(0):
        return part
    copied = blocks(whole).index_copy(0, rows, blocks(part.to(whole.dtype), like=whole))
    return from_blocks(copied, like=whole)


def added(whole: Batch, rows: Rows, part: Part) -> Batch:
    """`whole` with `part` [len(rows), ...] added to its `rows`."""
    if rows.size(0) == whole.size(0):
        return whole + part
    return from_blocks(blocks(whole).index_add(0, rows, blocks(part, like=whole)), like=whole)


def partition(
    leaves: Bool[Tensor, "rows"], count: int | None = None
) -> tuple[Int64[Tensor, "left"], Int64[Tensor, "staying"]]:
    """Where `leaves` [rows] is true and where it is false, each int64 in order.

    Args:
        leaves: bool [rows].
        count: how many are true, where the caller knows; otherwise the device is waited for.
    """
    count = int(leaves.sum()) if count is None else count
    if count in (0, leaves.size(0)):
        every = torch.arange(leaves.size(0), device=leaves.device)
        return (every, every[:0]) if count else (every[:0], every)
    order = leaves.byte().argsort(stable=True)
    return order[leaves.size(0) - count :], order[: leaves.size(0) - count]


def gathered(rows: Sequence[Int64[Tensor, "_"]], parts: Sequence[Shaped[Tensor, "_ *shape"]]) -> Batch:
    """One batch again from `parts`, each of which belongs to the `rows` beside it; together they are all rows."""
    if len(parts) == 1:
        return parts[0]
    whole = torch.cat(list(parts))
    order = torch.cat(list(rows)).argsort()
    return from_blocks(blocks(whole).index_select(0, order), like=whole)


def blocks(batch: Batch, like: Shaped[Tensor, "..."] | None = None) -> Shaped[Tensor, "batch ..."]:
    """A view of `batch` in which each row lies in memory as a block, if `batch` (or `like`) is channels-last."""
    return batch.permute(0, 2, 3, 1) if _is_channels_last(batch if like is None else like) else batch


def from_blocks(rows: Shaped[Tensor, "batch ..."], like: Shaped[Tensor, "..."]) -> Shaped[Tensor, "batch ..."]:
    """What `blocks` made of a batch in the layout of `like`, back in the order of its dimensions."""
    return rows.permute(0, 3, 1, 2) if _is_channels_last(like) else rows


def _is_channels_last(batch: Tensor) -> bool:
    if batch.dim() != 4 or batch.is_contiguous():
        return False
    return batch.is_contiguous(memory_format=torch.channels_last)


def distinct_rows(*columns: Int64[Tensor, "rows *_"]) -> list[list[int]]:
    """The distinct rows of integer tensors [rows, ...] side by side."""
    found: list[list[int]] = (
        torch.cat([column.reshape(len(column), -1) for column in columns], dim=1).unique(dim=0).tolist()
    )
    return found
