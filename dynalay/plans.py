"""Plans: what an agent expects of every way to go on, and which of them pays.

A *plan* is a whole path: how often each layer is evaluated before the answer. In a state s of a sweep the agent
predicts the worth W of every plan that is still possible, up to a number that they share, and follows the one that is
best at the price of compute:

    plan(s; price) = argmax_p [ W(s, p) - price * cost(p) ],    W(s, p) = P(the answer after p is right | s)

The cost of a plan is known exactly, in units of the bare pass. The agent is asked again wherever the sweep has computed
something new. What it does next is the value of computation as Russell & Wefald define it ("Principles of
Metareasoning", 1991): evaluate a layer if the best plan that does is worth more, by more than its price, than the best
that does not. The higher the price, the cheaper the plan, in every state: of two plans, a rise in price can only favour
the cheaper.

There is nothing to bootstrap. All plans of a sample are run once on the trained network, those that begin alike
together, and every outcome is known: right or wrong. The agent is fitted to these by least squares. What makes one
sample harder than another raises or lowers all its plans alike, and centring takes it away; so gains of one or two
points can be learnt, which vanish in the noise of single outcomes. `docs/dynalay.md` has the figures.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dynalay.confidence import answer_features
from dynalay.meter import Meter
from dynalay.options import report
from dynalay.sleeping import SleepingNetwork
from dynalay.sweep import Path, Sweep

#: Rows in a step of the fit.
BATCH = 512
#: Of the agent's own optimiser. Weights decay as strongly as this because right or wrong is a noisy target; biases and
#: the means of the plans do not, so an agent that sees nothing follows the best fixed path at every price.
LEARNING_RATE, WEIGHT_DECAY = 2e-3, 2.0
#: A scale for the loss: squared differences of zeros and ones are small.
SCALE = 8.0


class PlanAgent(nn.Module):
    """Two hidden layers, and for each plan what it is worth more than the others.

    Its weights are no parameters of the network's training: they have no gradient but inside `fit`.

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

    def forward(self, x: Tensor) -> Tensor:
        """The worth of each plan up to a number that they share: float32 [rows, plans], from [rows, inputs]."""
        x = x.to(self.worth.weight.dtype)
        standardised = (x[:, : self.seen] - self.mean) / self.std
        worth: Tensor = self.worth(self.body(torch.cat([standardised, x[:, self.seen :]], dim=1)))
        return worth.float()


def seen_numbers(network: SleepingNetwork, classes: int) -> int:
    """How many numbers of what the agent sees are standardised."""
    return sum(network.seen) + 2 * (3 + 2 * classes) + classes + 2


def see(sweep: Sweep, layer: int, rows: Tensor) -> Tensor:
    """What the agent sees in front of `layer`, from 0: float32 [rows, inputs].

    In this order: the looks at all stages; of the newest answer and of the bare one, `answer_features`; how the newest
    differs from the one before it (logits / 4, and whether the label flipped); the logarithm of the layer's residual;
    how often each layer was evaluated; the layer in question.
    """
    looked = sweep.look()
    assert sweep.bare is not None
    assert sweep.logits is not None
    assert sweep.previous is not None
    newest, before = sweep.logits[rows].float(), sweep.previous[rows].float()
    position = torch.zeros(len(rows), sweep.evaluated.shape[1], device=rows.device)
    position[:, layer] = 1
    flipped = newest.argmax(dim=1) != before.argmax(dim=1)
    return torch.cat(
        [
            *(stage[rows].float() for stage in looked),
            answer_features(newest),
            answer_features(sweep.bare.logits[rows].float()),
            (newest - before) / 4,
            flipped[:, None].float(),
            sweep.residual[rows, None].clamp(1e-6, 1).log10(),
            sweep.evaluated[rows] / sweep.network.evaluations,
            position,
        ],
        dim=1,
    )


def possible(table: Tensor, evaluated: Tensor, layer: int) -> Tensor:
    """Which plans a sweep can still follow: bool [rows, plans].

    Args:
        table: the plans, int64 [plans, layers].
        evaluated: so far, int64 [rows, layers].
        layer: where the sweep stands.
    """
    below = (table[:, :layer] == evaluated[:, None, :layer]).all(dim=2)
    return below & (table[:, layer] >= evaluated[:, None, layer])


def best(worth: Tensor, open_: Tensor, costs: Tensor, price: Tensor) -> Tensor:
    """The plan that pays most at a price: int64 [rows].

    Args:
        worth: of each plan, [rows, plans].
        open_: which are possible, bool [rows, plans].
        costs: of each plan in units of the bare pass, [plans].
        price: of compute, [rows] or a scalar.
    """
    value = worth - price.reshape(-1, 1) * costs
    return value.masked_fill(~open_, -torch.inf).argmax(dim=1)


#: Says which plan each of some rows follows, int64 [rows], from the sweep, the layer and the rows.
Choice = Callable[[Sweep, int, Tensor], Tensor]


def go(sweep: Sweep, table: Tensor, choose: Choice) -> Tensor:
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


def agents_choice(table: Tensor, costs: Tensor, price: Tensor) -> Choice:
    """What the component "agent" chooses.

    Args:
        table: the plans, int64 [plans, layers].
        costs: of each plan, in units of the bare pass, [plans].
        price: of compute, [batch].
    """

    def choose(sweep: Sweep, layer: int, rows: Tensor) -> Tensor:
        seen = see(sweep, layer, rows)
        worth = sweep.meter("agent", seen, rows=rows)
        open_ = possible(table, sweep.evaluated[rows], layer)
        chosen = best(worth, open_, costs, price[rows])
        if sweep.meter.listens:
            report(sweep, layer, rows, seen, worth, open_, chosen, table, costs, price[rows])
        return chosen

    return choose


@dataclass(frozen=True)
class Outcomes:
    """All plans of some samples, and what the agent sees where they part.

    Attributes:
        seen: float32 [samples, inputs], by what was evaluated before and the layer in question; in the order of a sweep
            that leaves layers before it evaluates them.
        logits: the answer after each plan, float32 [samples, plans, classes].
        correct: whether it is right, float32 [samples, plans].
    """

    seen: dict[tuple[Path, int], Tensor]
    logits: Tensor
    correct: Tensor

    @staticmethod
    def joined(parts: "Sequence[Outcomes]") -> "Outcomes":
        """The outcomes of all samples of `parts`."""
        return Outcomes(
            {state: torch.cat([part.seen[state] for part in parts]) for state in parts[0].seen},
            torch.cat([part.logits for part in parts]),
            torch.cat([part.correct for part in parts]),
        )


@torch.no_grad()
def record(network: SleepingNetwork, images: Tensor, labels: Tensor, plans: Sequence[Path], meter: Meter) -> Outcomes:
    """Run every plan of a batch once, what they share from the bottom up together.

    Args:
        network: in evaluation mode.
        images: [batch, channels, height, width].
        labels: int64 [batch].
        plans: distinct.
        meter: counts what was run.
    """
    seen = {}
    rows = torch.arange(len(images), device=images.device)

    def visit(sweep: Sweep, layer: int) -> None:
        if sweep.unseen.any():  # where the agent would be asked
            seen[tuple(sweep.evaluated[0].tolist()), layer] = see(sweep, layer, rows)

    answers = Sweep(network, meter, bare=network.bare(images, meter)).follow_all(plans, visit)
    logits = torch.stack([answers[plan].float() for plan in plans], dim=1)
    return Outcomes(seen, logits, (logits.argmax(dim=2) == labels[:, None]).float())


@torch.no_grad()
def predicted(agent: PlanAgent, outcomes: Outcomes) -> dict[tuple[Path, int], Tensor]:
    """What the agent predicts wherever it would be asked: [samples, plans], by state."""
    return {state: agent(seen) for state, seen in outcomes.seen.items()}


def ends(
    worth: dict[tuple[Path, int], Tensor],
    table: Tensor,
    costs: Tensor,
    price: float,
    visit: Callable[[tuple[Path, int], Tensor, Tensor], None] = lambda state, rows, open_: None,
) -> Tensor:
    """The plan that each recorded sample ends with when the agent decides: int64 [samples].

    Args:
        worth: as `predicted` gives it.
        table: the plans, int64 [plans, layers].
        costs: of each plan, [plans].
        price: of compute.
        visit: called before each decision with the state, the samples in it and the plans that are possible.
    """
    plan = torch.zeros(len(next(iter(worth.values()))), dtype=torch.int64, device=table.device)
    for (path, layer), predictions in worth.items():
        evaluated = torch.tensor(path, device=table.device)
        # Those whose plan so far has led here.
        here = (table[plan, :layer] == evaluated[:layer]).all(dim=1) & (table[plan, layer] >= evaluated[layer])
        rows = here.nonzero().squeeze(1)
        open_ = possible(table, evaluated[None], layer)
        visit((path, layer), rows, open_)
        plan[rows] = best(predictions[rows], open_, costs, torch.tensor(price, device=table.device))
    return plan


def fit(agent: PlanAgent, outcomes: Outcomes, table: Tensor, steps: int, generator: torch.Generator) -> None:
    """Fit a new agent to recorded outcomes, by an optimiser of its own with a cosine cycle.

    The loss of a sample in a state is the squared error of the worth of the plans that are possible there, both sides
    less their mean, averaged over these plans. Layers are drawn equally often, and states equally often of those before
    a layer. All randomness, dropout's too, derives from `generator`; the global stream is left as it was.

    Args:
        agent: in evaluation mode before and after.
        outcomes: on the device of the agent.
        table: the plans, int64 [plans, layers].
        steps: of the optimiser.
        generator: on the device of the agent.
    """
    states, device = list(outcomes.seen), table.device
    seen = torch.stack(list(outcomes.seen.values()))  # [states, samples, inputs]
    open_ = torch.cat([possible(table, torch.tensor([path], device=device), layer) for path, layer in states])
    before = [(layer, path[layer]) for path, layer in states]
    often = torch.tensor([1 / before.count(place) for place in before], device=device)

    whole = seen[..., : agent.seen]
    agent.mean.copy_(whole.mean(dim=(0, 1)))
    agent.std.copy_(whole.std(dim=(0, 1)).clamp_min(0.05))  # what is nearly constant is not blown up
    agent.worth.bias.copy_(outcomes.correct.mean(dim=0) - outcomes.correct.mean())

    seed = int(torch.randint(2**62, (), generator=generator, device=device))
    agent.train().requires_grad_(True)
    groups = [
        {"params": [p for p in agent.parameters() if p.ndim >= 2], "weight_decay": WEIGHT_DECAY},
        {"params": [p for p in agent.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.1, cycle_momentum=False
    )
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.autocast(device.type, enabled=False), torch.enable_grad():
        torch.manual_seed(seed)
        for _ in range(steps):
            state = torch.multinomial(often, BATCH, replacement=True)
            sample = torch.randint(len(outcomes.correct), (BATCH,), device=device)
            loss = plan_loss(agent(seen[state, sample]), outcomes.correct[sample], open_[state])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    agent.eval().requires_grad_(False)


def plan_loss(worth: Tensor, correct: Tensor, open_: Tensor) -> Tensor:
    """8 mean_p (W_p - mean W - (correct_p - mean correct))^2, over the plans that are possible; the mean over rows.

    Args:
        worth: predicted, [rows, plans].
        correct: whether the answer is right, [rows, plans].
        open_: which are possible, bool [rows, plans].
    """
    weights = open_ / open_.sum(dim=1, keepdim=True)
    error = worth - correct
    centred = error - (error * weights).sum(dim=1, keepdim=True)
    return SCALE * (centred**2 * weights).sum(dim=1).mean()
