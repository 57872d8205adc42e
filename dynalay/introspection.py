"""Introspection: what the agent sees of the inner state."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from dynalay.confidence import sureness
from dynalay.network import InnerState

#: Prices at or below this are shown to the agent as this: the logarithm needs an end.
LOWEST_PRICE = 1e-4


def scalar_features(layers: int) -> int:
    """How many numbers `scalars` gives for a network of so many layers."""
    return 3 + 2 * layers + 1 + (layers + 1) + 1


def scalars(
    state: InnerState,
    rows: Int64[Tensor, "rows"],
    round_: int,
    rounds: int,
    previous: Int64[Tensor, "batch"],
    price: Float[Tensor, "batch"],
) -> Float[Tensor, "rows features"]:
    """The numbers that the agent sees beside the pooled activations, float32 [len(rows), features], each of order one.

    In this order: the present answer's highest probability, entropy (over the entropy of chance) and margin; each
    layer's last relative residual (logarithm) and whether it is at its fixed point; the share of rounds used; the
    previous action, one-hot; the price of compute (logarithm).

    Args:
        state: the inner state of the batch.
        rows: int64, the samples that are still open.
        round_: the round now beginning, from 1.
        rounds: how many there may be.
        previous: int64 [batch], each sample's previous action.
        price: float [batch].
    """
    layers = state.residuals.shape[1]
    return torch.cat(
        [
            sureness(state.logits[rows].detach()),
            state.residuals[rows].clamp(1e-6, 1).log10() / 3,
            state.converged[rows].float(),
            torch.full((len(rows), 1), (round_ - 1) / rounds, device=rows.device),
            functional.one_hot(previous[rows], layers + 1).float(),
            price[rows, None].clamp_min(LOWEST_PRICE).log10() / 2 + 1,
        ],
        dim=1,
    )
