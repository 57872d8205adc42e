"""One order of layers for all samples: the control that takes the choice of layers from an agent.

In a fixed order, each plan evaluates one layer more than the plan before it; what is left to choose is how far to go.
The agent stays the same, with the same predictions. If it is no better than this, choosing how much to compute is all
that its choices are worth, and which layers compute it does not matter.
"""

from collections.abc import Iterator, Mapping, Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from dynalay import paths
from dynalay.options import Costs
from dynalay.outcomes import ends
from dynalay.plans import State
from dynalay.sweep import Path

#: Orders that are judged exactly, by what the agent would do in every state.
SHORTLIST = 16
#: Numbers that are held at once where all orders are compared.
AT_ONCE = 2**24


def orders(every: Sequence[Path]) -> Iterator[tuple[int, ...]]:
    """All fixed orders: the indices of paths from the empty to the full one, each with one evaluation more.

    Args:
        every: distinct; orders pass through these alone.
    """
    number = {path: index for index, path in enumerate(every)}
    full = max(every, key=sum)

    def onwards(path: Path, order: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        if path == full:
            yield order
        for layer, often in enumerate(path):
            more = (*path[:layer], often + 1, *path[layer + 1 :])
            if more in number:
                yield from onwards(more, (*order, number[more]))

    empty = (0,) * len(full)
    return onwards(empty, (number[empty],))


def best_order(
    worth: Mapping[State, Float[Tensor, "samples plans"]],
    correct: Float[Tensor, "samples plans"],
    every: Sequence[Path],
    costs: Costs,
    prices: Sequence[float],
) -> tuple[int, ...] | None:
    """The order in which the agent's choices are worth most, less their price; None if there is only one.

    The value of an order is the mean over samples and prices of `correct - price * cost`. Orders are compared by what
    the agent would choose at the beginning of a sweep, and the best of them by what it ends with.

    Args:
        worth: what the agent predicts in every state, as `outcomes.predicted` gives it.
        correct: whether each plan's answer is right, float [samples, plans].
        every: the plans.
        costs: of each plan in units of the bare pass, [plans].
        prices: of compute.
    """
    found = list(orders(every))
    if len(found) < 2:
        return None
    table = paths.table(every, costs.device)
    first = worth[(0,) * table.shape[1], 0]
    chains = torch.tensor(found, device=costs.device)
    values = torch.cat(
        [
            torch.stack([_value_at_first(first, correct, costs, price, part) for price in prices]).sum(dim=0)
            for part in chains.split(max(1, AT_ONCE // (len(first) * chains.shape[1])))
        ]
    )

    def exactly(order: tuple[int, ...]) -> float:
        among = torch.tensor(order, device=costs.device)
        within = {state: predictions[:, among] for state, predictions in worth.items()}
        value = 0.0
        for price in prices:
            end = among[ends(within, table[among], costs[among], price)]
            value += (correct.gather(1, end[:, None]).mean() - price * costs[end].mean()).item()
        return value

    return max((found[index] for index in values.topk(min(SHORTLIST, len(found))).indices.tolist()), key=exactly)


def _value_at_first(
    first: Float[Tensor, "samples plans"],
    correct: Float[Tensor, "samples plans"],
    costs: Costs,
    price: float,
    chains: Int64[Tensor, "orders length"],
) -> Float[Tensor, "orders"]:
    """The value of each order, [orders], if the first prediction were the last; `chains`: int64 [orders, length]."""
    position = (first - price * costs)[:, chains].argmax(dim=2)  # [samples, orders]
    end = chains.expand(len(first), -1, -1).gather(2, position[..., None]).squeeze(2)
    return (correct.gather(1, end) - price * costs[end]).mean(dim=0)
