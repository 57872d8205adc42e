"""Who decides, round for round, what to compute next: the agent, or a control in its place.

A policy is called as ``policy(state, rows, round_, previous)`` with the inner state, the open samples (int64 [rows]),
the round (from 1) and every sample's previous action (int64 [batch]); it returns int64 [rows]: 0 to answer now, l to
re-evaluate layer l.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional

from dynalay.confidence import entropy, max_probability
from dynalay.introspection import scalars
from dynalay.meter import Meter
from dynalay.network import InnerState
from dynalay.rows import take

Policy = Callable[[InnerState, Tensor, int, Tensor], Tensor]
#: The open samples, and the action of each.
Rows = Int64[Tensor, "rows"]
Previous = Int64[Tensor, "batch"]


class AgentPolicy:
    """The agent, greedy or sampling, with its memory of each sample and what it can learn from.

    Args:
        allowed: bool [1 + layers], the actions that exist; the direct action always does.
        price: the price of compute for each sample, float [batch].
        rounds: how many there may be.
        memory_size: the width of the agent's memory.
        sees_activations: whether the agent is shown the states beside the scalars.
        meter: what executes the component "agent".
        generator: samples actions from this stream; None takes the best action.

    Attributes:
        redundant: how often a layer was chosen that already was at its fixed point, [batch].
        log_probability: of the sampled actions, summed over rounds, [batch]; carries the graph to the agent.
        entropy: of the distributions they were sampled from, summed over rounds, [batch]; likewise.
        decisions: how many rounds each sample was decided on, [batch].
    """

    def __init__(
        self,
        allowed: Bool[Tensor, "actions"],
        price: Float[Tensor, "batch"],
        rounds: int,
        memory_size: int,
        sees_activations: bool,
        meter: Meter,
        generator: torch.Generator | None = None,
    ) -> None:
        self.allowed = allowed
        self.price = price
        self.rounds = rounds
        self.sees_activations = sees_activations
        self.meter = meter
        self.generator = generator
        self.memory = price.new_zeros(len(price), memory_size)
        self.redundant = price.new_zeros(len(price))
        self.log_probability = price.new_zeros(len(price))
        self.entropy = price.new_zeros(len(price))
        self.decisions = price.new_zeros(len(price))

    def __call__(self, state: InnerState, rows: Rows, round_: int, previous: Previous) -> Rows:
        seen = scalars(state, rows, round_, self.rounds, previous, self.price)
        activations = [take(z, rows).detach() for z in state.states] if self.sees_activations else []
        scores, memory = self.meter("agent", seen, self.memory[rows], *activations, rows=rows)
        self.memory = self.memory.index_copy(0, rows, memory.float())
        log_probabilities = scores.float().masked_fill(~self.allowed, -torch.inf).log_softmax(dim=1)
        if self.generator is None:
            actions = log_probabilities.argmax(dim=1)
        else:
            actions = self._sample(log_probabilities, rows, self.generator)
        if self.meter.listens:
            self._report(state, rows, round_, actions, seen, log_probabilities.exp())
        already_solved = functional.pad(state.converged[rows], (1, 0)).gather(1, actions[:, None]).squeeze(1)
        self.redundant = self.redundant.index_add(0, rows, already_solved.float())
        return actions

    def _report(
        self, state: InnerState, rows: Tensor, round_: int, actions: Tensor, seen: Tensor, probabilities: Tensor
    ) -> None:
        choices = ("answer", *(f"evaluate layer {layer}" for layer in range(1, len(self.allowed))))
        numbers: dict[str, Tensor | float] = {"price": self.price[rows]}
        numbers |= {
            f"preference: {choice}": probabilities[:, action]
            for action, choice in enumerate(choices)
            if self.allowed[action]
        }
        self.meter.decision(
            f"round {round_}", choices, actions, numbers, state.logits[rows], rows, {"scalars": seen}
        )  # fmt: skip

    def _sample(self, log_probabilities: Tensor, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Actions [rows] by the Gumbel-max trick, noted with all that the agent can learn from."""
        waiting = torch.empty_like(log_probabilities).exponential_(generator=generator)
        gumbel = -waiting.clamp_min(torch.finfo(waiting.dtype).tiny).log()
        actions = (log_probabilities + gumbel).argmax(dim=1)
        taken = log_probabilities.gather(1, actions[:, None]).squeeze(1)
        entropy = -(log_probabilities.exp() * log_probabilities.masked_fill(~self.allowed, 0)).sum(dim=1)
        self.log_probability = self.log_probability.index_add(0, rows, taken)
        self.entropy = self.entropy.index_add(0, rows, entropy)
        self.decisions = self.decisions.index_add(0, rows, torch.ones_like(taken))
        return actions


def uniform(allowed: Bool[Tensor, "actions"], generator: torch.Generator) -> Policy:
    """Re-evaluates a layer drawn uniformly from those that may be solved; never answers early."""
    layers = allowed[1:].float()

    def policy(state: InnerState, rows: Rows, round_: int, previous: Previous) -> Rows:
        return torch.multinomial(layers.expand(len(rows), -1), 1, generator=generator).squeeze(1) + 1

    return policy


def image_hash(images: Float[Tensor, "batch ..."]) -> Int64[Tensor, "batch"]:
    """A number for each image that depends on every pixel and its place: int64 [batch].

    The same in every batch and on every device. Pixels are rounded to 1/4096, because devices may differ in the last
    bit of a normalised pixel.

    Args:
        images: float [batch, ...], normalised.
    """
    pixels = (images.flatten(1).double() * 4096).round().long()
    places = torch.arange(1, pixels.shape[1] + 1, device=pixels.device) * -7046029254386353131  # 2**64 / golden ratio
    return _mixed(_mixed(pixels + places).sum(dim=1))


def _mixed(numbers: Tensor) -> Tensor:
    """The finaliser of splitmix64 (Steele 2014); its products wrap around, as int64 products do on every device."""
    for shift, factor in ((30, -4658895280553007687), (27, -7723592293110705685)):
        numbers = (numbers ^ (numbers >> shift)) * factor
    return numbers ^ (numbers >> 31)


def chance(hashes: Int64[Tensor, "batch"], draw: int) -> Float[Tensor, "batch"]:
    """Numbers in [0, 1) that look random, one for each hash and number of the draw: float64 [batch]."""
    return (_mixed(hashes + draw * 0x9E3779B97F4A7C1) & 0xFFFFFFFF).double() / 2**32


def random(images: Float[Tensor, "batch ..."], layers: Sequence[int], continuing: float) -> Policy:
    """Goes on with probability `continuing`, with a random one of `layers`: the control at equal compute.

    Its draws come from a hash of the image, so that a sample meets the same fate in every batch.
    """
    hashes = image_hash(images)

    def policy(state: InnerState, rows: Rows, round_: int, previous: Previous) -> Rows:
        picked = (chance(hashes[rows], 2 * round_) * len(layers)).long()
        layer = torch.tensor(layers, device=rows.device)[picked]
        return torch.where(chance(hashes[rows], 2 * round_ + 1) < continuing, layer, 0)

    return policy


def schedule(layers: Sequence[int]) -> Policy:
    """Evaluates these layers, one a round, whatever the sample, and then answers."""

    def policy(state: InnerState, rows: Rows, round_: int, previous: Previous) -> Rows:
        return torch.full_like(rows, layers[round_ - 1] if round_ <= len(layers) else 0)

    return policy


def shuffled(images: Float[Tensor, "batch ..."], schedules: Sequence[tuple[tuple[int, ...], int]]) -> Policy:
    """Gives each sample one of the agent's own action sequences, but one that the agent chose for some other sample.

    Args:
        images: [batch, ...]; a hash picks the sequence, so that a sample meets the same fate in every batch.
        schedules: (layers, how many samples the agent took through them).
    """
    counts = torch.tensor([count for _, count in schedules], dtype=torch.float64, device=images.device)
    ends = counts.cumsum(dim=0) / counts.sum()
    picked = torch.searchsorted(ends, chance(image_hash(images), 0), right=True).clamp_max(len(schedules) - 1)
    longest = max(len(layers) for layers, _ in schedules) + 1
    table = torch.tensor([[*layers, *[0] * (longest - len(layers))] for layers, _ in schedules], device=images.device)

    def policy(state: InnerState, rows: Rows, round_: int, previous: Previous) -> Rows:
        return table[picked[rows], round_ - 1] if round_ <= longest else torch.zeros_like(rows)

    return policy


def always(layers: Sequence[int], rounds: int) -> Policy:
    """Sweeps through `layers`, upwards and again, for so many rounds; 0 rounds is the direct pass."""

    def policy(state: InnerState, rows: Rows, round_: int, previous: Previous) -> Rows:
        return torch.full_like(rows, layers[(round_ - 1) % len(layers)] if round_ <= rounds else 0)

    return policy


def entropy_threshold(layers: Sequence[int], threshold: float) -> Policy:
    """Sweeps through `layers` until the answer's `entropy` is below `threshold`."""

    def policy(state: InnerState, rows: Rows, round_: int, previous: Previous) -> Rows:
        return torch.where(entropy(state.logits[rows]) < threshold, 0, layers[(round_ - 1) % len(layers)])

    return policy


def probability_threshold(layers: Sequence[int], threshold: float) -> Policy:
    """Sweeps through `layers` until the answer's `max_probability` is above `threshold`."""

    def policy(state: InnerState, rows: Rows, round_: int, previous: Previous) -> Rows:
        return torch.where(max_probability(state.logits[rows]) > threshold, 0, layers[(round_ - 1) % len(layers)])

    return policy
