"""DynaLay: layers sleep until an agent finds that evaluating them pays.

Mathur & Plis, "DynaLay: An Introspective Approach to Dynamic Layer Selection for Deep Networks", arXiv 2312.12781.

The network answers with every layer asleep (the bare pass). From there one sweep goes upwards. Wherever it has computed
something new the agent looks at the network's inner state, weighs all plans that are left, and either names the layer
to evaluate next or answers (`dynalay.plans`). `docs/dynalay.md` gives the design, says of each choice whether the paper
states it or it is ours, and has the evidence.
"""

import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int32
from torch import Tensor

from dynalay import paths, plans
from dynalay.alone import Branches, go_alone
from dynalay.classifier import (
    AdaptiveClassifier,
    Images,
    Labels,
    Logits,
    Loss,
    OperatingPoint,
    TrainingState,
    evaluating,
)
from dynalay.components import Component
from dynalay.gains import gains
from dynalay.meter import Meter
from dynalay.options import Costs, Table
from dynalay.orders import best_order
from dynalay.outcomes import FIT_BATCH, Outcomes, ends, first, fit, predicted, record, run_all
from dynalay.rows import distinct_rows
from dynalay.sandwich import random_paths, sandwich_loss
from dynalay.sleeping import BarePass, SleepingNetwork
from dynalay.sweep import Path, Sweep, actions, note_actions
from dynalay.trace import Gains

#: Each batch is split into so many parts, each with a random path, of at least so many samples for its statistics.
PARTS, SMALLEST_PART = 4, 8
#: Policies in which the agent decides: freely, or in one order of layers for all samples (`dynalay.orders`).
BY_AGENT = ("own", "one_order")


class DynaLay(AdaptiveClassifier):
    """A network of FPI layers that sleep at first, and an agent that learns the value of computation.

    The knob of the operating points is the price of compute, in worth for one bare pass: at 0.01, what costs as much as
    a bare pass has to bring one more correct answer in a hundred.

    Args:
        image_shape: (channels, height, width) of the normalised input.
        classes: the number of classes.
        layers: how many each stage has.
        channels: of each stage.
        strides: of each stage's transition.
        cell: what layers iterate, from zero; see `dynalay.cells`.
        pool: how the head pools.
        evaluations: how often the agent may evaluate each layer.
        iterations: of the cell, in one evaluation.
        points: of the agent's curve.
        controls: whether the operating points include those of `dynalay.paths`.
        agent_samples: that the agent is fitted on, at most; those held out come first.
        agent_steps: of its fit.
        agent_width: of its two hidden layers.
        held_out: share of the training split that the network does not learn from, so that the agent can.
        sees_states: whether the agent looks at the layers' states; if not, only at answers and residuals.
    """

    has_agent = True
    # 2: what was called DynaLay is `dynalay.workshop`; 3: as many steps as without samples held out; 4: its agent is
    # fitted on more samples, and on none twice
    version = 4
    search_space: ClassVar = {
        "agent_steps": [800, 1600, 3200],
        "held_out": (0.02, 0.2, "log"),
    }

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
        evaluations: int = 1,
        iterations: int = 1,
        points: int = 12,
        controls: bool = True,
        agent_samples: int = 6000,
        agent_steps: int = 1600,
        agent_width: int = 64,
        held_out: float = 0.05,
        sees_states: bool = True,
    ) -> None:
        super().__init__(image_shape, classes)
        self.points, self.controls = points, controls
        self.agent_samples, self.agent_steps, self.held_out = agent_samples, agent_steps, held_out
        self.network = SleepingNetwork(
            image_shape, classes, layers, channels, strides, cell, pool, evaluations, iterations, sees_states
        )
        self.layers, self.evaluations = len(self.network.stages), evaluations
        self.plans = paths.fixed_paths(self.layers, evaluations)
        self.agent = plans.PlanAgent(plans.seen_numbers(self.network, classes), self.network, self.plans, agent_width)

    def components(self) -> dict[str, Component]:
        return self.network.components() | {"agent": Component(self.agent, ((self.agent.inputs,),))}

    # Training of the network

    def training_loss(
        self, images: Images, labels: Labels, meter: Meter, state: TrainingState
    ) -> tuple[Loss, dict[str, Tensor]]:
        """The sandwich rule (Yu & Huang 2019): in every step the full path, the bare pass, and paths in between.

        loss = [CE(full) + 0.5 l(bare) + l(between)] / 2.5, where the full path also teaches the others:
        l = 0.5 CE + 0.5 T^2/2 KL(softened full answer, softened answer), T = 2.
        """
        bare = self.network.bare(images, meter)
        if self.layers == 1:
            full, between = self._along(bare, meter)
        else:
            full, between = self._random(bare, meter, state.generator)
        loss = sandwich_loss(full.float(), bare.logits, between, labels)
        named = {"full": full, "bare": bare.logits} | ({"between": between[-1]} if between else {})
        return loss, {
            f"accuracy_{name}": (logits.detach().argmax(dim=1) == labels).float().mean()
            for name, logits in named.items()
        }

    def _along(self, bare: BarePass, meter: Meter) -> tuple[Logits, list[Logits]]:
        """Of one layer, every path is the beginning of the full one, so one sweep gives all the answers."""
        sweep = Sweep(self.network, meter, bare=bare)
        sweep.arrive(0)
        answers = []
        for done in range(self.evaluations):
            sweep.evaluate(0, torch.arange(len(bare.logits), device=bare.logits.device), again=done > 0)
            answers.append(sweep.answer())
        return answers[-1], answers[:-1]

    def _random(self, bare: BarePass, meter: Meter, generator: torch.Generator) -> tuple[Logits, list[Logits]]:
        """The full path, and a random one for each part of the batch."""
        rows = torch.arange(len(bare.logits), device=bare.logits.device)
        everything = torch.full((len(rows), self.layers), self.evaluations, device=rows.device)
        full = Sweep(self.network, meter, bare=bare).follow(everything)
        parts = max(1, min(PARTS, len(rows) // SMALLEST_PART))
        random = random_paths(parts, self.layers, self.evaluations, generator)[rows * parts // len(rows)]
        return full, [Sweep(self.network, meter, bare=bare).follow(random)]

    # Training of the agent

    def settle(
        self,
        batches: Iterable[tuple[Tensor, Tensor]],
        unseen: Iterable[tuple[Tensor, Tensor]],
        generator: torch.Generator,
    ) -> int:
        """Fit the agent to the outcomes of all plans on the trained network; see `dynalay.outcomes`."""
        macs, found = 0, list[Outcomes]()
        for images, labels in first(itertools.chain(unseen, batches), self.agent_samples):
            meter = Meter(self.components(), len(images), images.device)
            found.append(record(self.network, images, labels, self.plans, meter))
            macs += int(meter.macs(self.component_macs().to(images.device)).sum())
        outcomes = Outcomes.joined(found)
        fit(self.agent, outcomes, self._table(outcomes.correct.device), self.agent_steps, generator)
        asked = self.component_macs()[list(self.components()).index("agent")]
        return macs + self.agent_steps * FIT_BATCH * int(asked)

    # Inference

    def classify(self, images: Images, point: OperatingPoint, meter: Meter) -> Logits:
        if point.policy == "own" and len(images) == 1 and not meter.listens:
            bare = self.network.bare(images, meter)
            logits, path = go_alone(self.network, bare, meter, self._branches, point.knob)
            note_actions(meter, self._branches.actions(path))
            return logits
        blind = paths.blind_paths(point, images, self.layers, self.evaluations)
        if blind is not None:
            sweep = Sweep(self.network, meter, images)
            logits = sweep.follow(blind)
        else:
            sweep = Sweep(self.network, meter, bare=self.network.bare(images, meter))
            logits = self._choose(sweep, point)
        note_actions(meter, actions(sweep.evaluated, self.evaluations))
        return logits

    def _choose(self, sweep: Sweep, point: OperatingPoint) -> Logits:
        """The answers where somebody looks: the agent, or a threshold on doubt."""
        assert sweep.bare is not None
        device = sweep.hidden.device
        if point.policy in BY_AGENT:
            among = torch.tensor(point.setting, device=device) if point.setting else slice(None)
            table = self._table(device)[among]
            price = torch.full((len(sweep.hidden),), float(point.knob), device=device)
            choice = plans.agents_choice(table, self._costs.to(device)[among], price, among)
            return plans.go(sweep, table, choice)
        if point.policy not in paths.DOUBT:
            raise ValueError(f"no policy {point.policy!r}")
        doubt, (threshold, *ways) = paths.DOUBT[point.policy], point.setting
        if len(ways) == 2:
            return sweep.follow(paths.table(ways, device)[(doubt(sweep.bare.logits) > threshold).long()])
        return paths.follow_until_sure(sweep, ways[0], lambda logits, passed: doubt(logits) > threshold)

    @torch.no_grad()
    def classify_at(self, images: Images, points: Sequence[OperatingPoint]) -> Iterator[tuple[Tensor, Meter]]:
        """All points are read off all paths, which every sample follows."""
        components, device = self.components(), images.device
        table, costs = self._table(device), self._costs.to(device)
        controls = [point for point in points if point.policy not in BY_AGENT]
        reachable = set(self.plans).union(*(paths.reachable(point, images, self.network) for point in controls))
        answers, seen = run_all(self.network, images, sorted(reachable), Meter(components, len(images), device))
        worth = predicted(self.agent, seen)
        executions = functools.cache(functools.partial(self._executions, images[:1]))
        for point in points:
            by_agent = point.policy in BY_AGENT
            if by_agent:
                among = torch.tensor(point.setting, device=device) if point.setting else slice(None)
                values = {state: each[:, among] for state, each in worth.items()}
                followed = table[among][ends(values, table[among], costs[among], float(point.knob))]
                passed = torch.zeros_like(followed[:, 0])
            else:
                followed, passed = paths.reached(point, images, answers, self.network)
            meter = Meter(components, len(images), device)
            logits = torch.empty_like(answers[self.plans[0]])
            for path, exits in {(tuple(row[:-1]), row[-1]) for row in distinct_rows(followed, passed)}:
                rows = (followed == paths.table([path], device)).all(dim=1) & (passed == exits)
                logits[rows] = answers[path][rows].to(logits.dtype)
                meter.executions[rows] = executions(path, None if by_agent else point, exits)
            note_actions(meter, actions(followed, self.evaluations))
            yield logits, meter

    def _executions(
        self, image: Float[Tensor, "1 *shape"], path: Path, control: OperatingPoint | None, passed: int
    ) -> Int32[Tensor, "components"]:
        """How often each component runs for one sample that ends with `path`: int32 [components].

        Args:
            image: any sample.
            path: of the sample.
            control: the point at which it does; None where the agent decides.
            passed: how many exits it passed there.
        """
        meter = Meter(self.components(), 1, image.device)
        way = paths.table([path], image.device)
        if control is not None and control.policy not in paths.DOUBT:
            Sweep(self.network, meter, image).follow(way)
            return meter.executions[0]
        sweep = Sweep(self.network, meter, bare=self.network.bare(image, meter))
        if control is None:
            plans.go(sweep, way, plans.asking)
        elif len(control.setting) == 3:
            sweep.follow(way)
        else:
            going = torch.ones(1, dtype=torch.bool, device=image.device)
            paths.follow_until_sure(sweep, control.setting[1], lambda logits, exits: going & (exits < passed))
        return meter.executions[0]

    @torch.no_grad()
    def operating_points(self, validation: Iterable[tuple[Tensor, Tensor]]) -> list[OperatingPoint]:
        """Prices that spread the curve evenly over its compute on the validation split; then the controls."""
        found = []
        for images, labels in validation:
            meter = Meter(self.components(), len(images), images.device)
            found.append(record(self.network, images, labels, self.plans, meter))
        outcomes = Outcomes.joined(found)
        device = outcomes.correct.device
        table, costs = self._table(device), self._costs.to(device)
        worth = predicted(self.agent, outcomes.seen)
        reached = {price: ends(worth, table, costs, price) for price in plans.PRICES}
        prices = plans.evenly_spread({price: costs[end].mean().item() for price, end in reached.items()}, self.points)
        own = [OperatingPoint(price) for price in prices]
        if not self.controls:
            return own
        taken = {price: [self.plans[plan] for plan in reached[price].tolist()] for price in prices}
        order = best_order(worth, outcomes.correct, self.plans, costs, prices)
        ordered = [OperatingPoint(price, "one_order", order) for price in prices if order]
        return own + ordered + paths.control_points(taken, self._tried(outcomes))

    def _tried(self, outcomes: Outcomes) -> paths.Tried:
        device = outcomes.logits.device
        images = torch.zeros(len(self.plans), *self.image_shape, device=device)
        meter = Meter(self.components(), len(images), device)
        Sweep(self.network, meter, bare=self.network.bare(images, meter)).follow(self._table(device))
        return paths.Tried(
            self.plans,
            meter.macs(self.component_macs().to(device)),
            int(self.component_macs()[list(meter.components).index("head")]),
            self.network.last,
            outcomes.correct,
            {rule: doubt(outcomes.logits) for rule, doubt in paths.DOUBT.items()},
        )

    def gains(self, images: Images, labels: Labels, points: Sequence[OperatingPoint]) -> Gains:
        meter = Meter(self.components(), len(images), images.device)
        outcomes = record(self.network, images, labels, self.plans, meter)
        table, costs = self._table(images.device), self._costs.to(images.device)
        return gains(self.agent, outcomes, table, costs, [point.knob for point in points])

    @property
    def default_point(self) -> OperatingPoint:
        """The full path: every layer evaluated as often as may be, whoever decides."""
        return OperatingPoint(1, "always")

    def _table(self, device: torch.device) -> Table:
        return paths.table(self.plans, device)

    @functools.cached_property
    def _branches(self) -> Branches:
        return Branches(self.plans, self._costs.to(next(self.parameters()).device), self.evaluations)

    @functools.cached_property
    def _costs(self) -> Costs:
        """What each plan costs beyond the bare pass, the agent's looks included, in units of the bare pass: [plans]."""
        images = next(self.parameters()).new_zeros(len(self.plans), *self.image_shape)
        meter = Meter(self.components(), len(images), images.device)

        with evaluating(self), torch.no_grad():
            bare = self.network.bare(images, meter)
            component_macs = self.component_macs().to(images.device)
            unit = meter.macs(component_macs)
            plans.go(Sweep(self.network, meter, bare=bare), self._table(images.device), plans.asking)
        return (meter.macs(component_macs) - unit).float() / unit
