"""The agent: a small recurrent network that looks into the inner state and picks the next action."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


class Agent(nn.Module):
    """Chooses, round for round, between re-evaluating one of the layers and the direct action (answer now).

    Args:
        channels: of each layer's state, [channels, height, width], [tokens, channels] or [channels].
        scalars: the number of scalar features (`dynalay.introspection`).
        hidden: the width of its recurrent state.
        sees_activations: whether it sees the pooled activations beside the scalars (an ablation takes them away).
    """

    def __init__(self, channels: Sequence[int], scalars: int, hidden: int = 32, sees_activations: bool = True) -> None:
        super().__init__()
        self.hidden = hidden
        self.sees_activations = sees_activations
        pooled = sum(channels) if sees_activations else 0
        self.norm = nn.LayerNorm(pooled) if sees_activations else None
        self.embed = nn.Linear(pooled + scalars, hidden)
        self.memory = nn.GRUCell(hidden, hidden)
        self.choose = nn.Linear(hidden, len(channels) + 1)
        # Begins undecided between all actions, whatever it sees.
        nn.init.zeros_(self.choose.weight)
        nn.init.zeros_(self.choose.bias)

    def forward(
        self,
        scalars: Float[Tensor, "rows scalars"],
        memory: Float[Tensor, "rows hidden"],
        *states: Float[Tensor, "rows ..."],
    ) -> tuple[Float[Tensor, "rows actions"], Float[Tensor, "rows hidden"]]:
        """Scores [rows, 1 + layers] of the direct action (0) and of re-evaluating layer l (l), and the new memory.

        Args:
            scalars: [rows, scalars].
            memory: [rows, hidden], zeros before the first round.
            states: of each layer, [rows, channels, height, width], [rows, tokens, channels] or [rows, channels]; none
                where activations are not seen.
        """
        # Scalars and memory are float32 whatever the network computes in.
        dtype = self.embed.weight.dtype
        seen, memory = scalars.to(dtype), memory.to(dtype)
        if self.norm is not None:
            pooled = [_average(state) for state in states]
            seen = torch.cat([self.norm(torch.cat(pooled, dim=1)), seen], dim=1)
        memory = self.memory(functional.relu(self.embed(seen)), memory)
        return self.choose(memory), memory


def state_channels(shape: tuple[int, ...]) -> int:
    """The channels of a state: the first of [channels, height, width], the last of [tokens, channels] or [channels].

    Raises:
        ValueError: the state has another number of dimensions.
    """
    if len(shape) not in (1, 2, 3):
        raise ValueError(f"a state of shape {shape} is not [channels, height, width], [tokens, channels] or [channels]")
    return shape[0] if len(shape) == 3 else shape[-1]


def _average(state: Float[Tensor, "rows ..."]) -> Float[Tensor, "rows channels"]:
    """The mean over positions or tokens."""
    match state.dim():
        case 4:
            return functional.adaptive_avg_pool2d(state, 1).flatten(1)
        case 3:
            return functional.adaptive_avg_pool1d(state.mT, 1).flatten(1)
        case _:
            return state
