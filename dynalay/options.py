"""An agent's decisions in words and numbers, for whoever looks: what each next step was expected to bring and to cost.

A plan says how every layer is evaluated, but what happens next is its first step: a layer is evaluated, or the answer
is given. Of all plans that begin alike only the best one counts. Its gain is what it is expected to be worth more than
the answer now, and its cost is what it costs beyond that; the agent takes the step of the largest gain - price * cost.
"""

import copy

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from dynalay.confidence import sureness
from dynalay.meter import Meter
from dynalay.sweep import Sweep

#: The plans as rows: how often each evaluates each layer.
Table = Int64[Tensor, "plans layers"]
Costs = Float[Tensor, "plans"]
PerRow = Float[Tensor, "rows"]
#: Of each plan, what it is worth or whether its answer is right.
Worth = Float[Tensor, "rows plans"]
Open = Bool[Tensor, "rows plans"]
Steps = Int64[Tensor, "rows plans"]


def first_steps(table: Table, evaluated: Int64[Tensor, "rows layers"]) -> Steps:
    """The layer that each plan evaluates next, from 1, or 0 where it answers: int64 [rows, plans].

    Args:
        table: the plans, int64 [plans, layers].
        evaluated: so far, int64 [rows, layers].
    """
    more = table > evaluated[:, None]
    layers = torch.arange(1, table.shape[1] + 1, device=table.device)
    first = torch.where(more, layers, table.shape[1] + 1).amin(dim=2)
    return torch.where(more.any(dim=2), first, 0)


def weighed(
    worth: Worth, open_: Open, first: Steps, costs: Costs, price: PerRow
) -> tuple[dict[int, PerRow], dict[int, PerRow]]:
    """Gain and cost of the best plan with each first step, by the step; each [rows], NaN where no plan begins so.

    Args:
        worth: of each plan, [rows, plans].
        open_: which are possible, bool [rows, plans].
        first: each plan's first step, int64 [rows, plans].
        costs: of each plan in units of the bare pass, [plans].
        price: of compute, [rows].
    """
    value = worth - price[:, None] * costs
    now = (value.masked_fill(~(open_ & (first == 0)), -torch.inf)).argmax(dim=1, keepdim=True)
    gains, expenses = {}, {}
    for step in sorted(set(first[open_].tolist())):
        begins = open_ & (first == step)
        best = value.masked_fill(~begins, -torch.inf).argmax(dim=1, keepdim=True)
        known = begins.any(dim=1)
        gains[step] = (worth.gather(1, best) - worth.gather(1, now)).squeeze(1).where(known, torch.nan)
        expenses[step] = (costs[best] - costs[now]).squeeze(1).where(known, torch.nan)
    return gains, expenses


def report(
    sweep: Sweep,
    layer: int,
    rows: Int64[Tensor, "rows"],
    seen: Float[Tensor, "rows inputs"],
    worth: Worth,
    open_: Open,
    plan: Int64[Tensor, "rows"],
    table: Table,
    costs: Costs,
    price: PerRow,
) -> None:
    """Report a decision to the sweep's meter.

    Args:
        sweep: as it stands.
        layer: in front of which the agent was asked, from 0.
        rows: int64, about whom.
        seen: what the agent saw, [rows, inputs].
        worth: what it predicted of each plan, [rows, plans].
        open_: which plans were possible, bool [rows, plans].
        plan: that it chose, int64 [rows].
        table: the plans, int64 [plans, layers].
        costs: of each plan in units of the bare pass, [plans].
        price: of compute, [rows].
    """
    network = sweep.network
    first = first_steps(table, sweep.evaluated[rows])
    gains, expenses = weighed(worth, open_, first, costs, price)
    choices = ("answer", *(f"evaluate layer {number}" for number in range(1, table.shape[1] + 1)))
    assert sweep.logits is not None
    top, entropy, margin = sureness(sweep.logits[rows]).unbind(dim=1)
    numbers = {"price": price, "confidence": top, "entropy": entropy, "margin": margin}
    for step, gain in gains.items():
        numbers |= {f"gain: {choices[step]}": gain, f"cost: {choices[step]}": expenses[step]}
    looks = seen[:, : sum(network.seen)].split(network.seen, dim=1)
    done = int(sweep.evaluated[rows[0], layer])
    sweep.meter.decision(
        f"at layer {layer + 1}" + f", evaluated {done} times" * bool(done),
        choices,
        first.gather(1, plan[:, None]).squeeze(1),
        numbers,
        lambda: _answer_now(sweep, layer)[rows],
        rows,
        {f"stage {stage}": look for stage, look in enumerate(looks, start=1)},
    )


def _answer_now(sweep: Sweep, layer: int) -> Float[Tensor, "batch classes"]:
    """The answers [batch, classes] if no further layer were evaluated."""
    aside = copy.copy(sweep)
    aside.meter = Meter(sweep.meter.components, sweep.meter.samples, sweep.hidden.device)
    for above in range(layer + 1, len(sweep.network.stages)):
        aside.arrive(above)
    return aside.answer()
