"""Plans: what an agent expects of every way to go on, and which of them pays.

A *plan* is a whole path: how often each layer is evaluated before the answer. In a state s of a sweep the agent
predicts the worth W of every plan that is still possible, up to a number that they share, and follows the one that is
best at the price of compute:

    plan(s; price) = argmax_p [ W(s, p) - price * cost(p) ],    W(s, p) = P(the answer after p is right | s)

The cost of a plan is known exactly, in units of the bare pass. The agent is asked again wherever the sweep has computed
something new. What it does next is the value of computation as Russell & Wefald define it ("Principles of
Metareasoning", 1991): evaluate a layer if the best plan that does is worth more, by more than its price, than the best
that does not. The higher the price, the cheaper the plan, in every state: of two plans, a rise in price can only favour
the cheaper. `dynalay.outcomes` says what the agent learns from.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from dynalay.options import Costs, Table, Worth, report
from dynalay.rows import take
from dynalay.sleeping import SleepingNetwork
from dynalay.sweep import Path, Rows, Sweep

#: Prices from which the curve's are picked, so that they spread it evenly; in worth for one bare pass.
PRICES = tuple(10 ** (exponent / 16) for exponent in range(0, -5 * 16 - 1, -1))
#: A layer that a sweep stands before, and how often it has evaluated each layer.
State = tuple[Path, int]


class PlanAgent(nn.Module):
    """Two hidden layers, and for each plan what it is worth more than the others.

    Its weights are no parameters of the network's training: they have no gradient but inside `dynalay.outcomes.fit`.

    Args:
        seen: how many numbers of what it sees are standardised (`see`).
        network: whose layers it evaluates.
        plans: that it chooses from.
        hidden: width of both hidden layers.
        dropout: behind each of them, while fitting.
    """

    def __init__(
        self, seen: int, network: SleepingNetwork, plans: Sequence[Path], hidden: int = 64, dropout: float = 0.2
    ) -> None:
        super().__init__()
        self.seen = seen
        #: What it sees, which layers were evaluated how often, and which layer it stands before.
        self.inputs = seen + 2 * len(network.stages)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.zeros(seen))
        self.register_buffer("std", torch.ones(seen))
        self.body = nn.Sequential(
            nn.Linear(self.inputs, hidden), nn.ReLU(), nn.Dropout(dropout),
            nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(dropout),
        )  # fmt: skip
        self.worth = nn.Linear(hidden, len(plans))
        nn.init.zeros_(self.worth.weight)
        nn.init.zeros_(self.worth.bias)
        self.requires_grad_(False)

    def forward(self, x: Float[Tensor, "rows inputs"]) -> Worth:
        """The worth of each plan up to a number that they share: float32 [rows, plans], from [rows, inputs]."""
        x = x.to(self.worth.weight.dtype)
        standardised = (x[:, : self.seen] - self.mean) / self.std
        worth: Worth = self.worth(self.body(torch.cat([standardised, x[:, self.seen :]], dim=1)))
        return worth.float()

    def for_inference(self) -> nn.Module:
        """The same function, up to rounding, with the standardisation multiplied into the first layer."""
        first = self.body[0]
        assert isinstance(first, nn.Linear)
        folded = nn.Linear(self.inputs, first.out_features, dtype=first.weight.dtype)
        scale = torch.cat([1 / self.std, torch.ones_like(self.std[:1]).expand(self.inputs - self.seen)])
        mean = torch.cat([self.mean, self.mean.new_zeros(self.inputs - self.seen)])
        folded.weight = nn.Parameter(first.weight * scale)
        folded.bias = nn.Parameter(first.bias - folded.weight @ mean)
        parts = (part for part in self.body[1:] if not isinstance(part, nn.Dropout))
        return _FoldedAgent(nn.Sequential(folded, *parts, self.worth))


class _FoldedAgent(nn.Module):
    """Layers in their own precision, from numbers and to worth in float32."""

    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        self.layers = layers
        self.dtype = next(layers.parameters()).dtype

    def forward(self, x: Float[Tensor, "rows inputs"]) -> Worth:
        worth: Worth = self.layers(x.to(self.dtype))
        return worth.float()


def seen_numbers(network: SleepingNetwork, classes: int) -> int:
    """How many numbers of what the agent sees are standardised."""
    return sum(network.seen) + 2 * (3 + 2 * classes) + classes + 2


def see(sweep: Sweep, layer: int, rows: Rows) -> Float[Tensor, "rows inputs"]:
    """What the agent sees in front of `layer`, from 0: float32 [rows, inputs].

    In this order: the looks at all stages; what is seen of the answers (`dynalay.confidence.compared_answers`); the
    logarithm of the layer's residual; how often each layer was evaluated; the layer in question.
    """
    looked = [look.float() for look in sweep.look()]
    residual = sweep.residual[:, None].clamp(1e-6, 1).log10()
    position = torch.zeros_like(sweep.evaluated)
    position[:, layer] = 1
    seen = [*looked, residual, sweep.evaluated / sweep.network.evaluations, position]
    return take(torch.cat(seen, dim=1), rows)


def possible(table: Table, evaluated: Int64[Tensor, "rows layers"], layer: int) -> Bool[Tensor, "rows plans"]:
    """Which plans a sweep can still follow: bool [rows, plans].

    Args:
        table: the plans, int64 [plans, layers].
        evaluated: so far, int64 [rows, layers].
        layer: where the sweep stands.
    """
    below = (table[:, :layer] == evaluated[:, None, :layer]).all(dim=2)
    return below & (table[:, layer] >= evaluated[:, None, layer])


def best(
    worth: Worth, open_: Bool[Tensor, "#rows plans"], costs: Costs, price: Float[Tensor, "rows"] | Float[Tensor, ""]
) -> Rows:
    """The plan that pays most at a price: int64 [rows].

    Args:
        worth: of each plan, [rows, plans].
        open_: which are possible, bool [rows, plans], or [1, plans] if the same for all rows.
        costs: of each plan in units of the bare pass, [plans].
        price: of compute, [rows] or a scalar.
    """
    value = worth - price.reshape(-1, 1) * costs
    return value.masked_fill(~open_, -torch.inf).argmax(dim=1)


#: Says which plan each of some rows follows, int64 [rows], from the sweep, the layer and the rows.
Choice = Callable[[Sweep, int, Rows], Rows]


def go(sweep: Sweep, table: Table, choose: Choice) -> Float[Tensor, "batch classes"]:
    """Sweep upwards, choosing again wherever something new was computed; the answers [batch, classes].

    Args:
        sweep: at its beginning, over a known bare pass.
        table: the plans, int64 [plans, layers].
        choose: the next plan of rows for which there is something new.
    """
    plan = torch.zeros_like(sweep.evaluated)
    for layer in range(table.shape[1]):
        sweep.arrive(layer)
        for done in range(sweep.network.evaluations):
            open_ = (sweep.evaluated[:, layer] == done) & sweep.unseen
            rows = open_.nonzero().squeeze(1)
            if len(rows):
                plan = plan.index_copy(0, rows, table[choose(sweep, layer, rows)])
            sweep.evaluate(layer, (plan[:, layer] > done).nonzero().squeeze(1), again=done > 0)
    return sweep.answer()


def agents_choice(table: Table, costs: Costs, price: Float[Tensor, "batch"], among: Rows | slice) -> Choice:
    """What the component "agent" chooses.

    Args:
        table: the plans that it may choose, int64 [plans, layers].
        costs: of each of these, in units of the bare pass, [plans].
        price: of compute, [batch].
        among: which of all plans these are, int64 [plans]; a slice copies nothing.
    """

    def choose(sweep: Sweep, layer: int, rows: Rows) -> Rows:
        seen = see(sweep, layer, rows)
        worth = sweep.meter("agent", seen, rows=rows)[:, among]
        open_ = possible(table, sweep.evaluated[rows], layer)
        chosen = best(worth, open_, costs, price[rows])
        if sweep.meter.listens:
            report(sweep, layer, rows, seen, worth, open_, chosen, table, costs, price[rows])
        return chosen

    return choose


def asking(sweep: Sweep, layer: int, rows: Rows) -> Rows:
    """A choice that asks the agent and does not heed it: every row follows the plan of its own number."""
    sweep.meter("agent", see(sweep, layer, rows), rows=rows)
    return rows


def evenly_spread(costs: Mapping[float, float], count: int) -> list[float]:
    """Of many prices, those whose mean costs lie nearest to `count` even steps; the highest first, none twice.

    Args:
        costs: by price, from the highest down.
        count: 1 or more.
    """
    low, high = min(costs.values()), max(costs.values())
    steps = [low + (high - low) * step / max(1, count - 1) for step in range(count)]
    chosen = {min(costs, key=lambda price: abs(costs[price] - step)) for step in steps}
    return sorted(chosen, reverse=True)
