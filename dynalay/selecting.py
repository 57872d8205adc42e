"""DynaLay whose layers sleep until they are chosen: one sweep upwards, in which an agent evaluates what pays.

The network answers with every layer asleep (the bare pass). From there one sweep goes upwards; in front of each layer
the agent, seeing what has just been computed, predicts what the layer would bring and cost, and evaluates it where the
gain exceeds its price (`dynalay.value`). `docs/dynalay.md`, "Layers that sleep", gives the design and its evidence.
"""

import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from dynalay import value
from dynalay.classifier import AdaptiveClassifier, OperatingPoint, TrainingState
from dynalay.components import Component
from dynalay.meter import Meter
from dynalay.paths import DOUBT, Path, blind_paths, control_points, fixed_paths, table, threshold_paths
from dynalay.sleeping import SleepingNetwork, Sweep

#: Ends of the prices that the agent learns at, in worth for one bare pass; also of the curve's priced part.
PRICES = (1e-3, 0.3)
#: Below the lowest price the curve goes on by patience: what a layer is taken to be worth beyond its predicted gain.
PATIENCE = (0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.08, 0.15)
#: Weights of the bare pass and of random paths in the loss; the full path has weight 1.
BARE_WEIGHT, RANDOM_WEIGHT = 0.5, 1.0
#: The full path's answers, softened by this temperature, are this share of what the other paths learn.
TEMPERATURE, DISTILLED = 2.0, 0.5
#: Each batch is split into so many parts, each with a random path, of at least so many samples for its statistics.
PARTS, SMALLEST_PART = 4, 8
#: How often the agent is fitted, each time to forks made by the one before; forks of so many of these times are kept.
REFRESHES, KEPT = 5, 3


class Selecting(AdaptiveClassifier):
    """A network of sleeping layers, and an agent that learns the value of computation.

    The knob of the operating points is the price of compute, in worth for one bare pass: at 0.01, what costs as much as
    a bare pass has to bring one more correct answer in a hundred. Below zero it is patience at the lowest price.

    Args:
        image_shape: (channels, height, width) of the normalised input.
        classes: the number of classes.
        layers: how many each stage has.
        channels: of each stage.
        strides: of each stage's transition.
        cell: what layers evaluate, once and from zero; see `dynalay.cells`.
        pool: how the head pools.
        points: prices on the curve; points of patience come on top.
        controls: whether the operating points include those of `dynalay.paths`.
        agent_images: training images that the agent is fitted on, at most.
        agent_forks: of each of these images, for each of the `REFRESHES`.
        agent_steps: of each fit; the last one takes twice as many.
    """

    has_agent = True

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        classes: int,
        *,
        layers: tuple[int, ...] = (1, 2, 3),
        channels: tuple[int, ...] = (16, 32, 64),
        strides: tuple[int, ...] = (1, 2, 2),
        cell: Literal["standardised", "residual", "mdeq"] = "standardised",
        pool: Literal["average", "maximum"] = "average",
        points: int = 12,
        controls: bool = True,
        agent_images: int = 6000,
        agent_forks: int = 4,
        agent_steps: int = 400,
    ) -> None:
        super().__init__(image_shape, classes)
        self.points = points
        self.controls = controls
        self.agent_images, self.agent_forks, self.agent_steps = agent_images, agent_forks, agent_steps
        self.network = SleepingNetwork(image_shape, classes, layers, channels, strides, cell, pool)
        self.layers = len(self.network.stages)
        self.agent = value.ValueAgent(value.seen_numbers(self.network, classes), self.layers)

    def components(self) -> dict[str, Component]:
        agent = {"agent": Component(self.agent, ((self.agent.inputs,),))}
        return self.network.components() | value.look_components(self.network) | agent

    # Training of the network

    def training_loss(
        self, images: Tensor, labels: Tensor, meter: Meter, state: TrainingState
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The sandwich rule (Yu & Huang 2019): in every step the full path, the bare pass, and paths in between.

        loss = [CE(full) + 0.5 l(bare) + l(random)] / 2.5, where the full path also teaches the others:
        l = 0.5 CE + 0.5 T^2/2 KL(softened full answer, softened answer), T = 2.
        """
        bare = self.network.bare(images, meter)
        rows = torch.arange(len(images), device=images.device)
        everything = torch.ones(len(images), self.layers, dtype=torch.bool, device=images.device)
        full = Sweep(self.network, meter, bare=bare).follow(everything).float()
        parts = max(1, min(PARTS, len(images) // SMALLEST_PART))
        paths = random_paths(parts, self.layers, state.generator)[rows * parts // len(images)]
        between = Sweep(self.network, meter, bare=bare).follow(paths)
        loss = sandwich_loss(full, bare.logits, between, labels)
        return loss, {
            f"accuracy_{name}": (logits.detach().argmax(dim=1) == labels).float().mean()
            for name, logits in (("full", full), ("bare", bare.logits), ("random", between))
        }

    # Training of the agent

    def settle(self, batches: Iterable[tuple[Tensor, Tensor]], generator: torch.Generator) -> int:
        """Fit the agent to forks on the frozen network; see `dynalay.value`."""
        macs, kept = 0, list[value.Forks]()
        per_row = self._agent_macs()
        for refresh in range(REFRESHES):
            forks, spent = self._forks(batches, refresh > 0, generator)
            if refresh == 0:
                value.standardise(self.agent, forks)
            kept = [*kept, forks][-KEPT:]
            steps = self.agent_steps * (2 if refresh == REFRESHES - 1 else 1)
            value.fit(self.agent, value.Forks.joined(kept), steps, generator)
            macs += spent + steps * value.BATCH * per_row
        return macs

    def _agent_macs(self) -> int:
        return int(self.component_macs()[list(self.components()).index("agent")])

    def _forks(
        self, batches: Iterable[tuple[Tensor, Tensor]], greedy: bool, generator: torch.Generator
    ) -> tuple[value.Forks, int]:
        """Forks of up to `agent_images` samples, in front of layers of equal shares, and the MACs they took."""
        components = self.components()
        found, macs, left = list[value.Forks](), 0, self.agent_images
        for images, labels in batches:
            images, labels = images[:left], labels[:left]
            left -= len(images)
            meter = functools.partial(Meter, components, device=images.device)
            costs = self.component_macs().to(images.device)
            order = torch.randperm(self.layers, generator=generator, device=images.device).tolist()
            for number in range(self.agent_forks):
                layer = order[number % self.layers]
                forks, spent = value.fork(
                    self.network, images, labels, layer, meter, costs, PRICES, greedy, generator
                )  # fmt: skip
                found.append(forks)
                macs += spent
            if not left:
                break
        return value.Forks.joined(found), macs

    # Inference

    def classify(self, images: Tensor, point: OperatingPoint, meter: Meter) -> Tensor:
        paths = blind_paths(point, images, self.layers)
        if paths is not None:
            sweep = Sweep(self.network, meter, images)
            logits = sweep.follow(paths)
        else:
            bare = self.network.bare(images, meter)
            sweep = Sweep(self.network, meter, bare=bare)
            if point.policy == "own":
                logits = self._choose(sweep, point.knob)
            else:
                logits = sweep.follow(threshold_paths(point, bare.logits, self.layers))
        _note(meter, sweep.evaluated)
        return logits

    def _choose(self, sweep: Sweep, knob: float) -> Tensor:
        """The answers when the agent decides."""
        view = value.View.of(sweep)
        price = torch.full((len(sweep.hidden),), max(float(knob), PRICES[0]), device=sweep.hidden.device)
        for layer in range(self.layers):
            sweep.arrive(layer)
            chosen = value.decide(view, layer, price, patience=max(0.0, -float(knob)))
            sweep.evaluate(layer, chosen.nonzero().squeeze(1))
        return sweep.answer()

    def classify_at(self, images: Tensor, points: Sequence[OperatingPoint]) -> Iterator[tuple[Tensor, Meter]]:
        """The agent's points are run; whatever follows fixed paths is read off all paths that any sample follows."""
        components = self.components()
        shared = Meter(components, len(images), images.device)
        bare = self.network.bare(images, shared)
        followed = {}
        for point in points:
            if point.policy != "own":
                blind = blind_paths(point, images, self.layers)
                followed[point.name] = threshold_paths(point, bare.logits, self.layers) if blind is None else blind
        distinct = {_path(row) for paths in followed.values() for row in paths.tolist()}
        answers = Sweep(self.network, shared, bare=bare).follow_all(sorted(distinct))
        executions = functools.cache(functools.partial(self._executions, images[:1]))
        for point in points:
            meter = Meter(components, len(images), images.device)
            if point.policy == "own":
                yield self.classify(images, point, meter), meter
                continue
            logits, paths = bare.logits.clone(), followed[point.name]
            for path in {_path(row) for row in paths.tolist()}:
                rows = (paths == table([path], self.layers, images.device)).all(dim=1)
                logits[rows] = answers[path][rows].to(logits.dtype)
                meter.executions[rows] = executions(path, point.policy in DOUBT)
            _note(meter, paths)
            yield logits, meter

    def _executions(self, image: Tensor, path: Path, after_bare: bool) -> Tensor:
        """How often each component runs for one sample on a path: int32 [components]."""
        meter = Meter(self.components(), 1, image.device)
        sweep = Sweep(self.network, meter, image, self.network.bare(image, meter) if after_bare else None)
        sweep.follow(table([path], self.layers, image.device))
        return meter.executions[0]

    @torch.no_grad()
    def operating_points(self, validation: Iterable[tuple[Tensor, Tensor]]) -> list[OperatingPoint]:
        """Prices on a geometric grid from the highest down, then patience at the lowest price; then the controls."""
        lowest, highest = PRICES
        steps = max(1, self.points - 1)
        prices = [highest * (lowest / highest) ** (index / steps) for index in range(self.points)]
        own = [OperatingPoint(knob) for knob in (*prices, *(-patience for patience in PATIENCE))]
        return own + self._controls(own, validation) if self.controls else own

    def _controls(self, own: list[OperatingPoint], validation: Iterable[tuple[Tensor, Tensor]]) -> list[OperatingPoint]:
        paths = fixed_paths(self.layers)
        taken: dict[float, list[Path]] = {point.knob: [] for point in own}
        bare_logits, correct, image = [], [], None
        for images, labels in validation:
            image = images[:1]
            meter = Meter(self.components(), len(images), images.device)
            bare = self.network.bare(images, meter)
            for point in own:
                sweep = Sweep(self.network, meter, bare=bare)
                self._choose(sweep, point.knob)
                taken[point.knob] += [_path(row) for row in sweep.evaluated.tolist()]
            answers = Sweep(self.network, meter, bare=bare).follow_all(paths)
            right = [(answers[path].argmax(dim=1) == labels).float() for path in paths]
            bare_logits.append(bare.logits.float())
            correct.append(torch.stack(right, dim=1))
        if image is None:
            return []
        costs = self.component_macs().to(image.device)
        macs = torch.stack([(self._executions(image, path, True).long() * costs).sum() for path in paths])
        return control_points(self.layers, taken, torch.cat(bare_logits), torch.cat(correct), macs)

    @property
    def default_point(self) -> OperatingPoint:
        """The full path: every layer evaluated, whoever decides."""
        return OperatingPoint(1, "always")


def random_paths(count: int, layers: int, generator: torch.Generator) -> Tensor:
    """Paths that evaluate each layer with a probability of their own, and one layer at least: bool [count, layers]."""
    device = generator.device
    paths = torch.zeros(count, layers, dtype=torch.bool, device=device)
    while len(empty := (~paths.any(dim=1)).nonzero().squeeze(1)):
        probability = torch.rand(len(empty), 1, generator=generator, device=device)
        paths[empty] = torch.rand(len(empty), layers, generator=generator, device=device) < probability
    return paths


def sandwich_loss(full: Tensor, bare: Tensor, random: Tensor, labels: Tensor) -> Tensor:
    """See `Selecting.training_loss`; all logits are [batch, classes]."""
    softened = (full.detach() / TEMPERATURE).softmax(dim=1)

    def taught(logits: Tensor) -> Tensor:
        logits = logits.float()
        divergence = functional.kl_div((logits / TEMPERATURE).log_softmax(dim=1), softened, reduction="batchmean")
        return (1 - DISTILLED) * functional.cross_entropy(logits, labels) + DISTILLED * TEMPERATURE**2 / 2 * divergence

    loss = functional.cross_entropy(full, labels) + BARE_WEIGHT * taught(bare) + RANDOM_WEIGHT * taught(random)
    return loss / (1 + BARE_WEIGHT + RANDOM_WEIGHT)


def _path(evaluated: Sequence[bool]) -> Path:
    return tuple(layer for layer, chosen in enumerate(evaluated, start=1) if chosen)


def _note(meter: Meter, evaluated: Tensor) -> None:
    """As actions: in front of layer l, l where it was evaluated and 0 where it was left."""
    for layer, chosen in enumerate(evaluated.unbind(dim=1), start=1):
        meter.note(f"action{layer}", chosen.long() * layer)
