"""The value of computation: what evaluating a layer would bring the answer, and what it would cost.

For a state s of a sweep, in front of layer l, and a price of compute, the agent predicts

    D(s, l; price) = E[worth if l is evaluated - worth if it is left]
    C(s, l; price) = E[cost  if l is evaluated - cost  if it is left]

where both branches go on, after l, as the agent itself decides; worth is 1 for a correct answer and 0 for a wrong one,
and cost is metered, in units of the bare pass. It evaluates l where the gain exceeds its price:

    D + patience > price * C

The targets come from *forks*: one sample's sweep is continued in both ways, from the same state. What makes one sample
harder than another is then the same in both branches and leaves their difference, so gains of one or two points can be
learnt which vanish in the noise of single outcomes. The fit is on the network as it stands after training.

Value of computation: Russell & Wefald, "Principles of Metareasoning", 1991. The forks and the fit are ours.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from dynalay.components import Component
from dynalay.confidence import sureness
from dynalay.meter import Meter
from dynalay.rows import take
from dynalay.sleeping import SleepingNetwork, Sweep

#: Before it has learnt anything, the agent takes each layer for worth this much.
PRIOR_GAIN = 0.05
#: Of the two errors in the loss. A gain is a difference of zeros and ones with a small mean, a cost is of order 1.
GAIN_WEIGHT, COST_WEIGHT = 8.0, 0.1
#: Forks in a step of the fit.
BATCH = 512
#: Of the agent's own optimiser. Weights decay as strongly as this because targets are noisy; biases do not.
LEARNING_RATE, WEIGHT_DECAY = 2e-3, 0.5


class ValueAgent(nn.Module):
    """Two hidden layers, and a gain and a cost for each layer of the network.

    Its weights are no parameters of the network's training: they have no gradient but inside `fit`.

    Args:
        seen: how many numbers of what it sees are standardised (`View`).
        layers: of the network.
        hidden: width of both hidden layers.
        dropout: behind each of them, while fitting.
    """

    def __init__(self, seen: int, layers: int, hidden: int = 64, dropout: float = 0.2) -> None:
        super().__init__()
        self.seen, self.layers = seen, layers
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.zeros(seen))
        self.register_buffer("std", torch.ones(seen))
        self.body = nn.Sequential(
            nn.Linear(self.inputs, hidden), nn.ReLU(), nn.Dropout(dropout),
            nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(dropout),
        )  # fmt: skip
        self.gain, self.cost = nn.Linear(hidden, layers), nn.Linear(hidden, layers)
        for output in (self.gain, self.cost):
            nn.init.zeros_(output.weight)
            nn.init.zeros_(output.bias)
        nn.init.constant_(self.gain.bias, PRIOR_GAIN)
        self.requires_grad_(False)

    @property
    def inputs(self) -> int:
        """How many numbers it sees: those of `seen`, layers evaluated, the layer in question, and the price twice."""
        return self.seen + 2 * self.layers + 2

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Gain and cost of evaluating the layer in question, each float [rows].

        Args:
            x: [rows, inputs], as `View.before` gives it.
        """
        x = x.to(self.gain.weight.dtype)
        position = x[:, self.seen + self.layers : self.seen + 2 * self.layers]
        hidden = self.body(torch.cat([(x[:, : self.seen] - self.mean) / self.std, x[:, self.seen :]], dim=1))
        gain, cost = (self.gain(hidden) * position).sum(dim=1), (self.cost(hidden) * position).sum(dim=1)
        return gain.float(), functional.softplus(cost.float())


def seen_numbers(network: SleepingNetwork, classes: int) -> int:
    """How many numbers of what the agent sees are standardised."""
    return sum(shape[0] for shape in network.shapes) + 2 * (3 + 2 * classes)


def look_components(network: SleepingNetwork) -> dict[str, Component]:
    """The agent's look at a stage: its state after ReLU, averaged over the image."""
    return {
        f"stage{stage}.look": Component(nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()), (shape,))
        for stage, shape in enumerate(network.shapes, start=1)
    }


@dataclass
class View:
    """What the agent sees of a sweep; `before` gives it as numbers.

    Attributes:
        sweep: one that knows its bare pass.
        pooled: the mean of ReLU(u) of each stage, the newest there is, each [batch, channels].
        bare_answer: `answer_features` of the bare answer.
    """

    sweep: Sweep
    pooled: list[Tensor]
    bare_answer: Tensor

    @classmethod
    def of(cls, sweep: Sweep) -> "View":
        """The view of a sweep that is about to begin."""
        assert sweep.bare is not None, "the agent looks at the bare pass first"
        pooled = [sweep.meter(f"stage{stage}.look", u) for stage, u in enumerate(sweep.bare.inputs, start=1)]
        return cls(sweep, pooled, answer_features(sweep.bare.logits))

    def twice(self, sweep: Sweep) -> "View":
        """The same view of `sweep`, which is this view's doubled."""
        return View(sweep, [torch.cat([each] * 2) for each in self.pooled], torch.cat([self.bare_answer] * 2))

    def before(self, layer: int, price: Tensor) -> Tensor:
        """What is seen in front of `layer`, float32 [batch, inputs]; looks again only at rows that have changed.

        In this order: the pooled states; the newest answer and the bare one, each as `answer_features`; which layers
        are evaluated; the layer in question; the logarithm of the price, scaled, and its square.

        Args:
            layer: where the sweep has arrived.
            price: float [batch].
        """
        sweep = self.sweep
        stage, last = sweep.network.stages[layer], sweep.network.stages[-1]
        rows = sweep.unseen.nonzero().squeeze(1)
        if len(rows):
            fresh = sweep.meter(f"stage{stage + 1}.look", take(sweep.hidden, rows), rows=rows)
            self.pooled[stage] = self.pooled[stage].index_copy(0, rows, fresh.to(self.pooled[stage].dtype))
            sweep.unseen = torch.zeros_like(sweep.unseen)
        # Below the last stage there is no newer answer than the bare one.
        answer = answer_features(sweep.answer()) if stage == last else self.bare_answer
        position = torch.zeros_like(sweep.evaluated, dtype=torch.float32)
        position[:, layer] = 1
        scaled = price[:, None].log() / 2 + 2
        parts = [*self.pooled, answer, self.bare_answer, sweep.evaluated, position, scaled, scaled**2]
        return torch.cat([part.float() for part in parts], dim=1)


def answer_features(logits: Tensor) -> Tensor:
    """Top probability, entropy (over that of chance), margin, probabilities, logits / 4: [rows, 3 + 2 classes]."""
    logits = logits.float()
    return torch.cat([sureness(logits), logits.softmax(dim=1), logits / 4], dim=1)


def decide(view: View, layer: int, price: Tensor, patience: float = 0.0) -> Tensor:
    """Where the agent evaluates `layer`: bool [batch]."""
    gain, cost = view.sweep.meter("agent", view.before(layer, price))
    chosen: Tensor = gain + patience > price * cost
    return chosen


@dataclass(frozen=True)
class Forks:
    """What the agent learns from, one row a fork.

    Attributes:
        seen: [forks, inputs].
        gain: worth with the layer less worth without it, in {-1, 0, 1}, float [forks].
        cost: MACs with the layer less MACs without it, in units of the bare pass, float [forks].
    """

    seen: Tensor
    gain: Tensor
    cost: Tensor

    @staticmethod
    def joined(parts: "Sequence[Forks]") -> "Forks":
        """All the forks of `parts`."""
        return Forks(*(torch.cat([getattr(part, name) for part in parts]) for name in ("seen", "gain", "cost")))


@torch.no_grad()
def fork(
    network: SleepingNetwork,
    images: Tensor,
    labels: Tensor,
    layer: int,
    meter: Callable[[int], Meter],
    component_macs: Tensor,
    prices: tuple[float, float],
    greedy: bool,
    generator: torch.Generator,
) -> tuple[Forks, int]:
    """One fork of each sample in front of `layer`, and the MACs that they took.

    Up to the layer half of the samples follow a random path and half the agent; after it both branches follow the
    agent, or the same random path as long as there is no agent worth following.

    Args:
        network: in evaluation mode.
        images: [batch, channels, height, width].
        labels: int64 [batch].
        layer: where to fork, from 0.
        meter: makes a fresh meter for so many samples.
        component_macs: int64 [components], on the device of the images.
        prices: between which the price of each sample is drawn, log-uniformly.
        greedy: whether there is an agent to follow.
        generator: of all that is drawn, on the device of the images.
    """
    batch, layers, device = len(images), len(network.stages), images.device

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, device=device)

    low, high = (math.log(price) for price in prices)
    price = (low + (high - low) * uniform(batch)).exp()
    random = uniform(batch, layers) < uniform(batch, 1)
    follows = (uniform(batch) < 0.5) & greedy

    before = meter(batch)
    bare = network.bare(images, before)
    bare_macs = before.macs(component_macs)
    sweep = Sweep(network, before, bare=bare)
    view = View.of(sweep)
    for lower in range(layer):
        sweep.arrive(lower)
        # Asked even where its advice is not followed: the view stays up to date, and the agent costs next to nothing.
        chosen = torch.where(follows, decide(view, lower, price), random[:, lower])
        sweep.evaluate(lower, chosen.nonzero().squeeze(1))
    sweep.arrive(layer)
    seen = view.before(layer, price)

    after = meter(2 * batch)
    branches = sweep.twice(after)
    view = view.twice(branches)
    branches.evaluate(layer, torch.arange(batch, device=device))
    for upper in range(layer + 1, layers):
        branches.arrive(upper)
        twice = torch.cat([random[:, upper]] * 2)
        chosen = decide(view, upper, torch.cat([price, price])) if greedy else twice
        branches.evaluate(upper, chosen.nonzero().squeeze(1))
    worth = (branches.answer().argmax(dim=1) == torch.cat([labels, labels])).float()
    spent = after.macs(component_macs)
    cost = (spent[:batch] - spent[batch:]).double() / bare_macs
    total = int(before.macs(component_macs).sum()) + int(spent.sum())
    return Forks(seen, worth[:batch] - worth[batch:], cost.float()), total


def value_loss(agent: ValueAgent, forks: Forks) -> Tensor:
    """8 (D - gain)^2 + 0.1 huber(C - cost), the mean over forks.

    The squared error has the mean as its minimum, which is the expected gain; the huber loss only keeps rare long
    continuations from dominating.
    """
    gain, cost = agent(forks.seen)
    return GAIN_WEIGHT * functional.mse_loss(gain, forks.gain) + COST_WEIGHT * functional.smooth_l1_loss(
        cost, forks.cost
    )


def fit(
    agent: ValueAgent,
    forks: Forks,
    steps: int,
    generator: torch.Generator,
) -> None:
    """Fit the agent to `forks`, from where it stands, with an optimiser of its own and a cosine cycle.

    All randomness, dropout's too, derives from `generator`; the global stream is left as it was.

    Args:
        agent: in evaluation mode before and after.
        forks: see there.
        steps: of the optimiser.
        generator: on the device of the forks.
    """
    device = forks.seen.device
    seed = int(torch.randint(2**62, (), generator=generator, device=device))
    agent.train().requires_grad_(True)
    groups = [
        {"params": [p for p in agent.parameters() if p.ndim >= 2], "weight_decay": WEIGHT_DECAY},
        {"params": [p for p in agent.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.autocast(device.type, enabled=False), torch.enable_grad():
        torch.manual_seed(seed)
        for _ in range(steps):
            rows = torch.randint(len(forks.gain), (BATCH,), device=device)
            loss = value_loss(agent, Forks(forks.seen[rows], forks.gain[rows], forks.cost[rows]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    agent.eval().requires_grad_(False)


def standardise(agent: ValueAgent, forks: Forks) -> None:
    """Let the agent see the features of `forks` with mean 0 and variance 1; a nearly constant one is not blown up."""
    seen = forks.seen[:, : agent.seen]
    agent.mean.copy_(seen.mean(dim=0))
    agent.std.copy_(seen.std(dim=0).clamp_min(0.05))
