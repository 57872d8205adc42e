"""What the agent learns from: two estimators of the gradient of the expected reward over its actions.

Each gives a surrogate to maximise, [batch]: its gradient means something, its value does not.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def self_critical(
    log_probability: Float[Tensor, "batch"], reward: Float[Tensor, "batch"], baseline: Float[Tensor, "batch"]
) -> Float[Tensor, "batch"]:
    """REINFORCE (Williams 1992) with the reward of the greedy actions as baseline (Rennie 2017).

    Unbiased, since the greedy actions do not depend on those that were sampled.

    Args:
        log_probability: of the actions that were sampled, [batch], with the graph to the agent.
        reward: of those actions, [batch].
        baseline: the reward of the agent's best actions on the same sample, [batch].
    """
    return (reward - baseline).detach() * log_probability


def straight_through(
    gates: Sequence[Float[Tensor, "batch"]], rewards: Sequence[Float[Tensor, "batch"]]
) -> Float[Tensor, "batch"]:
    """Gumbel straight-through (Jang 2017, section 2.2) for choices of which only the chosen one is executed.

    With r_t what an answer after round t would earn, and g_t the gate of round t, the sampled path has the reward::

        r_0 + g_1 (r_1 - r_0) + g_1 g_2 (r_2 - r_1) + ...

    which is right wherever the path might have ended: for gates (1, ..., 1, 0, ...), all r being known.  Forwards every
    gate is 1; backwards it is the softmax, perturbed by the same Gumbel noise, of the action that was taken.  So the
    chosen layer is made likelier by what it and all that came after it changed in the answer's worth, less what that
    cost.  Biased, with a smaller variance than REINFORCE.  Differences of rewards take the place of a derivative
    through the main model, which would vanish wherever the last answer is sure, however wrong the one before was.

    Args:
        gates: of each round, [batch], with the graph to the agent; 1 without a graph where the answer was given.
        rewards: before round 1 and after each round, [batch]; the last rounds may be missing if nobody went on.

    Example: two rounds, of which the first gains 0.5 and the second loses 0.25.
        >>> gates = torch.ones(2, 1, requires_grad=True)
        >>> rewards = [torch.tensor([reward]) for reward in (0.25, 0.75, 0.5)]
        >>> straight_through(list(gates), rewards).sum().backward()
        >>> gates.grad.flatten().tolist()
        [0.25, -0.25]
    """
    total, reached = torch.zeros_like(rewards[0]), torch.ones_like(rewards[0])
    for gate, before, after in zip(gates, rewards, rewards[1:], strict=False):
        reached = reached * gate
        total = total + reached * (after - before).detach()
    return total
