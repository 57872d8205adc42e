"""Cells of the image model: the functions that its FPI layers iterate."""

from torch import Tensor, nn
from torch.nn import functional


def group_norm(channels: int) -> nn.GroupNorm:
    """Groups of eight channels.  BatchNorm would not do: its statistics differ from iteration to iteration."""
    return nn.GroupNorm(max(1, channels // 8), channels)


class ResidualCell(nn.Module):
    """f(z, u) = u + F(z + u), F a pre-activation residual branch: norm, ReLU, convolution, twice (He 2016b).

    From zero it is an ordinary residual block, u + F(u), so the direct pass wastes nothing; z enters through F alone,
    so the gain of F is the gain of f.

    Args:
        channels: of state and input.
        gain: the initial scale of F's last norm; below 1 the iteration contracts from the start.
    """

    def __init__(self, channels: int, gain: float = 0.5) -> None:
        super().__init__()
        self.norm1 = group_norm(channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = group_norm(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm3 = group_norm(channels)
        nn.init.constant_(self.norm3.weight, gain)

    def forward(self, z: Tensor, u: Tensor) -> Tensor:
        """The next state [rows, channels, height, width] from state `z` and input `u` of the same shape."""
        hidden = self.conv1(functional.relu(self.norm1(z + u)))
        hidden = self.conv2(functional.relu(self.norm2(hidden)))
        return u + self.norm3(hidden)


class RecallCell(nn.Module):
    """f(z, u) = ReLU(norm(conv(z + u) + u + z / 2)): one convolution, the input recalled in every iteration.

    Half the cost of `ResidualCell` for one step of propagation; for problems in which something has to travel (Bansal
    2022, "End-to-end algorithm synthesis with recurrent networks: logical extrapolation without overthinking").

    Args:
        channels: of state and input.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = group_norm(channels)

    def forward(self, z: Tensor, u: Tensor) -> Tensor:
        """The next state [rows, channels, height, width] from state `z` and input `u` of the same shape."""
        return functional.relu(self.norm(self.conv(z + u) + u + z / 2))


#: The cells by the name a configuration would use.
CELLS: dict[str, type[nn.Module]] = {"residual": ResidualCell, "recall": RecallCell}
