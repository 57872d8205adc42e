"""Cells of the image model: the functions that its FPI layers iterate."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

#: Feature maps; in one signature, all of one shape.
Maps = Float[Tensor, "rows channels height width"]


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
        # One-dimensional, like every gain and bias, so that weight decay leaves it alone.
        self.gain = nn.Parameter(torch.full((channels,), gain))

    def forward(self, z: Maps, u: Maps) -> Maps:
        """The next state [rows, channels, height, width] from state `z` and input `u` of the same shape."""
        inner = functional.relu(self.conv1(functional.relu(z + u)))
        # g F by a kernel with g in it: a product of weights in place of one of images.
        assert self.conv2.bias is not None
        weight, bias = self.gain.view(-1, 1, 1, 1) * self.conv2.weight, self.gain * self.conv2.bias
        return u + functional.conv2d(inner, weight, bias, padding=1)

    def for_inference(self) -> nn.Module:
        """The same function with its gain multiplied into the kernel (`dynalay.inference`)."""
        assert self.conv2.bias is not None
        weight, bias = self.gain.view(-1, 1, 1, 1) * self.conv2.weight, self.gain * self.conv2.bias
        return _FoldedCell(_fixed(self.conv1, self.conv1.weight), _fixed(self.conv2, weight, bias))


class StandardisedCell(nn.Module):
    """f(z, u) = u + F(ReLU(z + u)), F as in `ResidualCell` of convolutions with standardised kernels.

    What batch normalisation brings to training without any statistics of the data, which would differ from iteration
    to iteration: the kernels are normalised and not the states, so that f is the same function for every sample, in
    every iteration, in training and after it.

    Args:
        channels: of state and input.
        gain: what the gain of the second convolution starts from; small, so that f begins as a contraction.
    """

    def __init__(self, channels: int, gain: float = 0.3) -> None:
        super().__init__()
        self.conv1 = StandardisedConv2d(channels)
        self.conv2 = StandardisedConv2d(channels, gain)

    def forward(self, z: Maps, u: Maps) -> Maps:
        """The next state [rows, channels, height, width] from state `z` and input `u` of the same shape."""
        return u + self.conv2(functional.relu(self.conv1(functional.relu(z + u))))

    def for_inference(self) -> nn.Module:
        """The same function of kernels that are standardised already (`dynalay.inference`)."""
        return _FoldedCell(*(_fixed(each, each.standardised()) for each in (self.conv1, self.conv2)))


class StandardisedConv2d(nn.Conv2d):
    """A 3x3 convolution with scaled weight standardisation (Brock, De & Smith 2021, arXiv 2101.08692, eq. 1-2).

    The kernel of each output channel has mean 0 and, over its n entries, the variance 2 / (1 - 1/pi) / n that keeps
    the variance of a ReLU's output; a learnt gain for each output channel scales it.

    `timm.layers.ScaledStdConv2d` is not used. It adds its eps to the variance of one entry, not to that of the sum of n
    as the paper does, so results differ; and it standardises by `batch_norm`, which the operator count takes for work
    on the sample: 635904 MACs, not 589824, for 32 channels at 8x8.

    Args:
        channels: of input and output.
        gain: what the gain starts from.
    """

    def __init__(self, channels: int, gain: float = 1.0) -> None:
        super().__init__(channels, channels, 3, padding=1)
        self.gain = nn.Parameter(torch.full((channels,), gain))

    def forward(self, input: Maps) -> Maps:  # noqa: A002 - torch's own name for it
        """[rows, channels, height, width] to the same shape."""
        return self._conv_forward(input, self.standardised(), self.bias)

    def standardised(self) -> Float[Tensor, "channels channels 3 3"]:
        """The kernel that it convolves with, [channels, channels, 3, 3]."""
        variance, mean = torch.var_mean(self.weight, dim=(1, 2, 3), correction=0, keepdim=True)
        scale = self.gain.view(-1, 1, 1, 1) * _OF_RELU * torch.rsqrt(variance * self.weight[0].numel() + 1e-4)
        return (self.weight - mean) * scale


_OF_RELU = math.sqrt(2 / (1 - 1 / math.pi))


class _FoldedCell(nn.Module):
    """u + conv2(ReLU(conv1(ReLU(z + u)))): what both cells above are once their weights are fixed."""

    def __init__(self, conv1: nn.Conv2d, conv2: nn.Conv2d) -> None:
        super().__init__()
        self.conv1 = conv1
        self.conv2 = conv2

    def forward(self, z: Maps, u: Maps) -> Maps:
        hidden: Tensor = self.conv2(functional.relu_(self.conv1(functional.relu_(z + u))))
        return hidden.add_(u)


def _fixed(conv: nn.Conv2d, weight: Tensor, bias: Tensor | None = None) -> nn.Conv2d:
    """An ordinary convolution like `conv`, with this kernel and bias (that of `conv` by default)."""
    bias = conv.bias if bias is None else bias
    fixed = nn.Conv2d(
        conv.in_channels, conv.out_channels, 3, padding=1, device=weight.device, dtype=weight.dtype
    )  # fmt: skip
    fixed.weight = nn.Parameter(weight.detach().clone(), requires_grad=False)
    fixed.bias = None if bias is None else nn.Parameter(bias.detach().clone(), requires_grad=False)
    return fixed


class MDEQCell(nn.Module):
    """f(z, u) = GN3(ReLU(z + GN2(conv2(ReLU(GN1(conv1(z)))) + u))), group norms bounding the state.

    The residual block of the multiscale deep equilibrium model (Bai, Koltun & Kolter 2020, arXiv 2006.08656, appendix
    A), at one scale. Its fixed points are found in a few iterations where those of the cells above may not exist; but
    the norms take away each sample's scale.

    Args:
        channels: of state and input; a multiple of 8, or fewer than 8.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norms = nn.ModuleList(nn.GroupNorm(max(1, channels // 8), channels) for _ in range(3))
        for convolution in (self.conv1, self.conv2):  # small, as the authors': so u outweighs z at first
            nn.init.normal_(convolution.weight, std=0.01)

    def forward(self, z: Maps, u: Maps) -> Maps:
        """The next state [rows, channels, height, width] from state `z` and input `u` of the same shape."""
        branch = self.conv2(functional.relu(self.norms[0](self.conv1(z))))
        return self.norms[2](functional.relu(z + self.norms[1](branch + u)))


#: The cells by the names that configurations use.
CELLS: dict[str, type[nn.Module]] = {
    "residual": ResidualCell,
    "standardised": StandardisedCell,
    "mdeq": MDEQCell,
}
