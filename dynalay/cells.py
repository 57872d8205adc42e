"""Cells of the image model: the functions that its FPI layers iterate."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class ResidualCell(nn.Module):
    """f(z, u) = u + g F(ReLU(z + u)), F two convolutions with a ReLU between, g a learnt gain per channel.

    From zero it is an ordinary residual block, u + g F(ReLU(u)), so the direct pass wastes nothing; z enters through F
    alone, so that a small g makes f a contraction.  It has no norm: BatchNorm's statistics differ from iteration to
    iteration, and GroupNorm takes away each sample's scale, which costs accuracy (figures in `docs/dynalay.md`).  The
    norm stands before the layer, in the transition that makes u.

    Args:
        channels: of state and input.
        gain: what g starts from.
    """

    def __init__(self, channels: int, gain: float = 0.3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.gain = nn.Parameter(torch.full((channels, 1, 1), gain))

    def forward(self, z: Tensor, u: Tensor) -> Tensor:
        """The next state [rows, channels, height, width] from state `z` and input `u` of the same shape."""
        inner = functional.relu(self.conv1(functional.relu(z + u)))
        # g F by a kernel with g in it: a product of weights in place of one of images.
        assert self.conv2.bias is not None
        weight, bias = self.gain.unsqueeze(-1) * self.conv2.weight, self.gain.flatten() * self.conv2.bias
        return u + functional.conv2d(inner, weight, bias, padding=1)


class RecallCell(nn.Module):
    """f(z, u) = ReLU(norm(conv(z + u) + u + z / 2)): one convolution, the input recalled in every iteration.

    Half the cost of `ResidualCell` for one step of propagation (after Bansal 2022, "End-to-end algorithm synthesis with
    recurrent networks").

    Args:
        channels: of state and input; a multiple of 8.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.GroupNorm(max(1, channels // 8), channels)

    def forward(self, z: Tensor, u: Tensor) -> Tensor:
        """The next state [rows, channels, height, width] from state `z` and input `u` of the same shape."""
        return functional.relu(self.norm(self.conv(z + u) + u + z / 2))


#: The cells by the name a configuration would use.
CELLS: dict[str, type[nn.Module]] = {"residual": ResidualCell, "recall": RecallCell}
