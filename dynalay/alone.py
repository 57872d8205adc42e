"""The agent's sweep for a sample that is alone in its batch, without books of which rows do what.

`dynalay.plans.go` keeps such books in tensors, and each operation on a small tensor takes as long as a small layer does
on one sample. Of one sample they are Python numbers. Components run in the same order on the same numbers, so that
answers and counts are those of `go`, bit for bit.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from dynalay.confidence import answer_features, compared_answers
from dynalay.meter import Meter
from dynalay.options import Costs
from dynalay.sleeping import BarePass, SleepingNetwork
from dynalay.sweep import Path, actions, residual

One = Float[Tensor, "1 _"]
Map = Float[Tensor, "1 channels height width"]
Branch = tuple[list[int], Int64[Tensor, "open"], Float[Tensor, "open"], One]


class Branches:
    """Which plans are left wherever a sweep may stand, found once and kept.

    Args:
        plans: that the agent chooses from.
        costs: of each, in units of the bare pass, [plans].
        evaluations: how often each layer may be evaluated.
    """

    def __init__(self, plans: Sequence[Path], costs: Costs, evaluations: int) -> None:
        self.plans = plans
        self.costs = costs
        self.evaluations = evaluations
        self._known: dict[tuple[Path, int], Branch] = {}
        self._actions: dict[Path, tuple[Tensor, ...]] = {}

    def at(self, evaluated: Path, layer: int) -> "Branch":
        """The plans that are possible in front of `layer`, their costs, and what the agent sees of the place.

        Args:
            evaluated: how often each layer was.
            layer: from 0.

        Returns:
            Indices, as a list and [open], costs [open], and the last columns of `dynalay.plans.see`.
        """
        place = evaluated, layer
        if place not in self._known:
            open_ = [
                index
                for index, plan in enumerate(self.plans)
                if plan[:layer] == evaluated[:layer] and plan[layer] >= evaluated[layer]
            ]
            device = self.costs.device
            position = [float(number == layer) for number in range(len(evaluated))]
            done = torch.tensor([evaluated], device=device) / self.evaluations
            columns = torch.cat([done, torch.tensor([position], device=device)], dim=1)
            self._known[place] = open_, torch.tensor(open_, device=device), self.costs[open_], columns
        return self._known[place]

    def actions(self, path: Path) -> tuple[Int64[Tensor, "1"], ...]:
        """The `dynalay.sweep.actions` of one sample that went along `path`."""
        if path not in self._actions:
            self._actions[path] = actions(torch.tensor([path], device=self.costs.device), self.evaluations)
        return self._actions[path]


def go_alone(
    network: SleepingNetwork, bare: BarePass, meter: Meter, branches: Branches, price: float
) -> tuple[Float[Tensor, "1 classes"], Path]:
    """Sweep upwards with one sample, choosing again wherever something new was computed.

    Args:
        network: whose layers to evaluate.
        bare: the sample's bare pass.
        meter: what executes.
        branches: the plans.
        price: of compute.

    Returns:
        The answer [1, classes], and how often each layer was evaluated.
    """
    device = bare.logits.device
    looked = [meter(f"stage{stage}.look", u) for stage, u in enumerate(bare.inputs[: len(network.looks)], start=1)]
    logits, of_bare = bare.logits, answer_features(bare.logits.float())
    answered = torch.cat([of_bare, of_bare, torch.zeros(1, logits.shape[1] + 1, device=device)], dim=1)
    unchanged = torch.zeros(1, 1, device=device)  # the logarithm of the residual where a layer sleeps, 1
    evaluated: Path = (0,) * len(network.stages)
    plan, stage, hidden = evaluated, -1, bare.inputs[0]
    unseen, stale, fresh = True, False, False  # something new for the agent; for the head; for the look at this stage

    for layer, upper in enumerate(network.stages):
        if upper != stage:
            if fresh and looked:
                looked[stage] = meter(f"stage{stage + 1}.look", hidden)
            stage, fresh, hidden = upper, False, hidden if any(evaluated) else bare.inputs[upper]
            if any(evaluated):
                key = torch.tensor([_awake_below(stage, network, evaluated)], device=device)
                hidden = meter(f"stage{stage + 1}.transition", hidden, key)
                unseen = fresh = True
        u, change = hidden, unchanged
        for done in range(network.evaluations):
            if unseen:
                if fresh and looked:
                    looked[stage] = meter(f"stage{stage + 1}.look", hidden)
                if stale and layer >= network.last:
                    before, logits = logits, meter("head", hidden)
                    answered, stale = compared_answers(logits.float(), before.float(), of_bare), False
                unseen = fresh = False
                left, indices, costs, place = branches.at(evaluated, layer)
                seen = [*(look.float() for look in looked), answered, change, place]
                worth = meter("agent", torch.cat(seen, dim=1))[0]
                plan = branches.plans[left[int((worth.index_select(0, indices) - price * costs).argmax())]]
            if plan[layer] <= done:
                break
            hidden, change = _evaluated(network, meter, layer, u, None if done == 0 else hidden)
            evaluated = (*evaluated[:layer], done + 1, *evaluated[layer + 1 :])
            unseen = fresh = stale = True
    return (meter("head", hidden) if stale else logits), evaluated


def _evaluated(
    network: SleepingNetwork, meter: Meter, layer: int, u: Map, state: Map | None
) -> tuple[Map, Float[Tensor, "1 1"]]:
    """The state of `layer` iterated once more, from zero if there is none yet, and the logarithm of its residual."""
    first = state is None
    before = state = torch.zeros_like(u) if state is None else state
    for _ in range(network.iterations):
        before, state = state, meter(f"layer{layer + 1}.cell", state, u)
    if first and network.iterations == 1:
        return state, torch.zeros(1, 1, device=u.device)
    return state, residual(state, before).float()[:, None].clamp(1e-6, 1).log10()


def _awake_below(stage: int, network: SleepingNetwork, evaluated: Path) -> int:
    """The key of a transition (`dynalay.sweep.Sweep`): one bit for each stage below that has a layer awake."""
    awake = {of for of, often in zip(network.stages, evaluated, strict=True) if often}
    return sum(1 << below for below in awake if below < stage)
