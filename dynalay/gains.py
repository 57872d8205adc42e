"""What the agent expects of evaluating a layer, against what comes of it.

Where every plan of a sample was run, both outcomes of each decision are known: the answer with the layer and the answer
without it. Their difference is the realised gain. The agent's predictions are calibrated if decisions of equal
prediction have realised gains of that mean.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

from dynalay import plans
from dynalay.options import Costs, Table
from dynalay.outcomes import Outcomes, ends, predicted
from dynalay.trace import Gains


@torch.no_grad()
def gains(agent: plans.PlanAgent, outcomes: Outcomes, table: Table, costs: Costs, prices: Sequence[float]) -> Gains:
    """The decisions that the recorded samples come to when the agent decides at each of several prices.

    With the layer and without it, a sample follows the best plan that is then left.

    Args:
        agent: whose predictions to compare.
        outcomes: of all plans.
        table: the plans, int64 [plans, layers].
        costs: of each plan in units of the bare pass, [plans].
        prices: of compute.
    """
    device = table.device
    worth = predicted(agent, outcomes.seen)
    found = [
        Gains(*(torch.empty(0, dtype=dtype, device=device) for dtype in (torch.int64,) * 2 + (torch.float32,) * 2))
    ]
    for price in prices:

        def compare(state: plans.State, rows: plans.Rows, open_: Bool[Tensor, "1 plans"], price: float = price) -> None:
            path, layer = state
            goes_on = table[:, layer] > path[layer]
            if not ((open_ & goes_on).any() and (open_ & ~goes_on).any()):
                return
            expected, came = worth[state][rows], outcomes.correct[rows]
            with_it, without = (
                plans.best(expected, open_ & side, costs, torch.tensor(price, device=device))[:, None]
                for side in (goes_on, ~goes_on)
            )
            hoped, realised = (
                (each.gather(1, with_it) - each.gather(1, without)).squeeze(1) for each in (expected, came)
            )
            found.append(Gains(torch.full_like(rows, layer + 1), rows, hoped, realised))

        ends(worth, table, costs, price, compare)
    return Gains.joined(found)
