"""Rows of a batch, neither copied nor given a graph of their own where all are meant, as in most of training."""

import torch
from torch import Tensor


def take(whole: Tensor, rows: Tensor) -> Tensor:
    """`whole[rows]`; `whole` itself where `rows` are all there are.

    Args:
        whole: [batch, ...].
        rows: int64, distinct rows in order.
    """
    return whole if len(rows) == len(whole) else whole.index_select(0, rows)


def put(whole: Tensor, rows: Tensor, part: Tensor) -> Tensor:
    """`whole` with its `rows` replaced by `part`: in place where no graph needs the old values, since copies cost time.

    Args:
        whole: [batch, ...].
        rows: int64, distinct rows in order.
        part: [len(rows), ...]; becomes of the type of `whole`.
    """
    part = part.to(whole.dtype)
    if len(rows) == len(whole):
        return part
    if torch.is_grad_enabled():
        return whole.index_copy(0, rows, part)
    return whole.index_copy_(0, rows, part)
