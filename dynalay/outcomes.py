"""All plans of some samples, run once on the trained network and recorded, and the agent that is fitted to them.

There is nothing to bootstrap. All plans of a sample are run once on the trained network, those that begin alike
together, and every outcome is known: right or wrong. The agent is fitted to these by least squares. What makes one
sample harder than another raises or lowers all its plans alike, and centring takes it away; so gains of one or two
points can be learnt, which vanish in the noise of single outcomes. `docs/dynalay.md` has the figures.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from dynalay.classifier import Logits
from dynalay.meter import Meter
from dynalay.options import Costs, Table, Worth
from dynalay.plans import PlanAgent, State, best, possible, see
from dynalay.sleeping import SleepingNetwork
from dynalay.sweep import Path, Rows, Sweep

#: Rows in a step of the fit.
FIT_BATCH = 512
#: Of the agent's own optimiser. Weights decay as strongly as this because right or wrong is a noisy target; biases and
#: the means of the plans do not, so an agent that sees nothing follows the best fixed path at every price.
LEARNING_RATE, WEIGHT_DECAY = 2e-3, 2.0
#: A scale for the loss: squared differences of zeros and ones are small.
SCALE = 8.0


@dataclass(frozen=True)
class Outcomes:
    """All plans of some samples, and what the agent sees where they part.

    Attributes:
        seen: float32 [samples, inputs], by what was evaluated before and the layer in question; in the order of a sweep
            that leaves layers before it evaluates them.
        logits: the answer after each plan, float32 [samples, plans, classes].
        correct: whether it is right, float32 [samples, plans].
    """

    seen: dict[State, Float[Tensor, "samples inputs"]]
    logits: Float[Tensor, "samples plans classes"]
    correct: Float[Tensor, "samples plans"]

    @staticmethod
    def joined(parts: "Sequence[Outcomes]") -> "Outcomes":
        """The outcomes of all samples of `parts`."""
        return Outcomes(
            {state: torch.cat([part.seen[state] for part in parts]) for state in parts[0].seen},
            torch.cat([part.logits for part in parts]),
            torch.cat([part.correct for part in parts]),
        )


def first(batches: Iterable[tuple[Tensor, Tensor]], count: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The first `count` samples of batches, or all of them if they hold fewer."""
    for images, labels in batches:
        images, labels = images[:count], labels[:count]
        count -= len(images)
        yield images, labels
        if not count:
            return


@torch.no_grad()
def run_all(
    network: SleepingNetwork, images: Float[Tensor, "batch channels height width"], plans: Sequence[Path], meter: Meter
) -> tuple[dict[Path, Logits], dict[State, Float[Tensor, "batch inputs"]]]:
    """Run every plan of a batch once, what they share from the bottom up together.

    Args:
        network: in evaluation mode.
        images: [batch, channels, height, width].
        plans: distinct.
        meter: counts what was run.

    Returns:
        The answers [batch, classes] by plan, and what the agent sees wherever it would be asked, [batch, inputs], by
        state.
    """
    seen = {}
    rows = torch.arange(len(images), device=images.device)

    def visit(sweep: Sweep, layer: int) -> None:
        if sweep.unseen.any():  # where the agent would be asked
            seen[tuple(sweep.evaluated[0].tolist()), layer] = see(sweep, layer, rows)

    return Sweep(network, meter, bare=network.bare(images, meter)).follow_all(plans, visit), seen


@torch.no_grad()
def record(
    network: SleepingNetwork,
    images: Float[Tensor, "batch channels height width"],
    labels: Int64[Tensor, "batch"],
    plans: Sequence[Path],
    meter: Meter,
) -> Outcomes:
    """The outcomes of all plans of a batch, for the arguments of `run_all` and labels, int64 [batch]."""
    answers, seen = run_all(network, images, plans, meter)
    logits = torch.stack([answers[plan].float() for plan in plans], dim=1)
    return Outcomes(seen, logits, (logits.argmax(dim=2) == labels[:, None]).float())


@torch.no_grad()
def predicted(
    agent: PlanAgent, seen: Mapping[State, Float[Tensor, "samples inputs"]]
) -> dict[State, Float[Tensor, "samples plans"]]:
    """What the agent predicts wherever it would be asked: [samples, plans], by state."""
    return {state: agent(each) for state, each in seen.items()}


def ends(
    worth: Mapping[State, Float[Tensor, "samples plans"]],
    table: Table,
    costs: Costs,
    price: float,
    visit: Callable[[State, Rows, Bool[Tensor, "1 plans"]], None] = lambda state, rows, open_: None,
) -> Int64[Tensor, "samples"]:
    """The plan that each recorded sample ends with when the agent decides: int64 [samples].

    Args:
        worth: as `predicted` gives it.
        table: the plans, int64 [plans, layers].
        costs: of each plan, [plans].
        price: of compute.
        visit: called before each decision with the state, the samples in it and which plans are
            possible, bool [1, plans].
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


def fit(agent: PlanAgent, outcomes: Outcomes, table: Table, steps: int, generator: torch.Generator) -> None:
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
            state = torch.multinomial(often, FIT_BATCH, replacement=True)
            sample = torch.randint(len(outcomes.correct), (FIT_BATCH,), device=device)
            loss = plan_loss(agent(seen[state, sample]), outcomes.correct[sample], open_[state])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    agent.eval().requires_grad_(False)


def plan_loss(worth: Worth, correct: Worth, open_: Bool[Tensor, "rows plans"]) -> Float[Tensor, ""]:
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
