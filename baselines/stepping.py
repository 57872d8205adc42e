"""Networks that take steps on a state until they halt: what PonderNet and the recursive network have in common.

An encoder runs once: the stem and every layer but the last, whose transition gives the input u. Then one cell, the last
layer's, is applied step by step. A sample halts at the first step whose halting score reaches the operating point's
knob, or at the last step; then, and not before, the head answers for it.

Beside each method's own learned halting the same weights are evaluated under simple rules in its place (the policies
of the operating points): `always` takes a fixed number of steps; `max_probability` stops when the answer is sure, for
which the head has to answer after every step; `converged` stops when the state hardly changes any more.
"""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from baselines.exits import State
from dynalay.classifier import AdaptiveClassifier, OperatingPoint
from dynalay.components import Component
from dynalay.confidence import max_probability
from dynalay.meter import Meter
from dynalay.parts import image_parts
from dynalay.rows import gathered, partition, take


class SteppingNetwork(AdaptiveClassifier):
    """An encoder, a cell that is applied again and again, and a head.

    The first tensor of a state is what the head answers from, [rows, channels, height, width].

    Args:
        image_shape: (channels, height, width) of the normalised input.
        classes: the number of classes.
        channels: of each layer; the last one's cell takes the steps.
        strides: of each layer's transition.
        cell: a name in `dynalay.cells.CELLS`.
        pool: how the head and the halting unit pool, "average" or "maximum".
        steps: how many steps there may be.
        points: how many thresholds each sweep has.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        classes: int,
        channels: Sequence[int],
        strides: Sequence[int],
        cell: str,
        pool: str,
        steps: int,
        points: int,
    ) -> None:
        super().__init__(image_shape, classes)
        if steps < 2:
            raise ValueError(f"steps={steps} leaves nothing to decide; take 2 or more")
        self.steps = steps
        self.points = points
        parts = image_parts(image_shape, classes, channels, strides, cell, pool)
        self.stem, self.head, self.cell = parts.stem, parts.head, parts.cells[-1]
        self.transitions = nn.ModuleList(parts.transitions)
        self.lower = nn.ModuleList(parts.cells[:-1])
        self._shapes = parts.shapes(image_shape)

    @property
    def default_point(self) -> OperatingPoint:
        """Every step."""
        return OperatingPoint(self.steps, "always")

    @property
    def state_shape(self) -> tuple[int, ...]:
        """(channels, height, width) of the state that the head answers from."""
        return self._shapes[-1]

    def components(self) -> dict[str, Component]:
        components = {"stem": Component(self.stem, (self.image_shape,))}
        for n, transition in enumerate(self.transitions, start=1):
            components[f"layer{n}.transition"] = Component(transition, (self._shapes[n - 1],))
            if n < len(self.transitions):
                components[f"layer{n}.cell"] = Component(self.lower[n - 1], (self._shapes[n],) * 2)
        components["cell"] = Component(self.cell, (self.state_shape,) * 2)
        return components | {"head": Component(self.head, (self.state_shape,))}

    def encode(self, images: Tensor, meter: Meter) -> Tensor:
        """The input u of the cell, [batch, channels, height, width]."""
        hidden = meter("stem", images)
        for n in range(1, len(self.transitions) + 1):
            hidden = meter(f"layer{n}.transition", hidden)
            if n < len(self.transitions):
                hidden = meter(f"layer{n}.cell", torch.zeros_like(hidden), hidden)
        return hidden

    @abstractmethod
    def start(self, u: Tensor) -> State:
        """The state before the first step."""

    @abstractmethod
    def step(self, state: State, u: Tensor, rows: Tensor, meter: Meter) -> tuple[State, Tensor]:
        """One step: the new state of `rows`, and their halting score, float [rows]; a sample halts where it is high."""

    def all_steps(self, images: Tensor, meter: Meter) -> tuple[list[State], list[Tensor]]:
        """The states and halting scores after each step, with nobody halting."""
        rows = torch.arange(len(images), device=images.device)
        u = self.encode(images, meter)
        state, states, scores = self.start(u), list[State](), list[Tensor]()
        for _ in range(self.steps):
            state, score = self.step(state, u, rows, meter)
            states.append(state)
            scores.append(score)
        return states, scores

    def classify(self, images: Tensor, point: OperatingPoint, meter: Meter) -> Tensor:
        rows = torch.arange(len(images), device=images.device)
        u = self.encode(images, meter)
        state = self.start(u)
        halted, answers = [], []
        for n in range(1, self.steps + 1):
            before = state
            state, score = self.step(state, u, rows, meter)
            logits = None
            compared = {"halting score": score}
            if point.policy == "own":
                halts = score >= point.knob
            elif point.policy == "always":
                halts = torch.full_like(rows, n >= point.knob, dtype=torch.bool)
            elif point.policy == "max_probability":
                logits = meter("head", state[0], rows=rows)
                compared = {"confidence": max_probability(logits)}
                halts = compared["confidence"] >= point.knob
            else:
                compared = {"change": change(before[0], state[0])}
                halts = compared["change"] <= point.knob
            if n == self.steps:
                halts = torch.ones_like(halts)
            elif point.policy != "always":
                numbers: dict[str, Tensor | float] = {**compared, "threshold": point.knob}
                meter.decision(f"step {n}", ("go on", "halt"), halts, numbers, partial(self.head, state[0]), rows)
            leave, stay = partition(halts)
            if len(leave) or not len(rows):  # an empty batch has an answer too
                leaving = take(rows, leave)
                answers.append(
                    meter("head", take(state[0], leave), rows=leaving) if logits is None else take(logits, leave)
                )
                halted.append(leaving)
            rows, u, state = take(rows, stay), take(u, stay), tuple(take(part, stay) for part in state)
            if not len(rows):
                break
        return gathered(halted, answers)

    def classify_at(self, images: Tensor, points: Sequence[OperatingPoint]) -> Iterator[tuple[Tensor, Meter]]:
        meter = Meter(components := self.components(), len(images), images.device)
        rows = torch.arange(len(images), device=images.device)
        u = self.encode(images, meter)
        state = self.start(u)
        executed, answers, scores, changes = [], [], [], []
        for _ in range(self.steps):
            before = state[0]
            state, score = self.step(state, u, rows, meter)
            executed.append(meter.executions.clone())
            answers.append(meter("head", state[0]))
            scores.append(score)
            changes.append(change(before, state[0]))
        logits = torch.stack(answers)
        met = {"own": torch.stack(scores), "converged": -torch.stack(changes)}
        met["max_probability"] = torch.stack([max_probability(answer) for answer in answers])
        head = list(components).index("head")
        for point in points:
            if point.policy == "always":
                step = torch.full_like(rows, min(int(point.knob), self.steps) - 1)
            else:
                knob = -point.knob if point.policy == "converged" else point.knob
                halts = met[point.policy] >= knob
                halts[-1] = True
                step = halts.int().argmax(dim=0)
            meter = Meter(components, len(images), images.device)
            meter.executions[:] = torch.stack(executed)[step, rows]
            meter.executions[:, head] = step + 1 if point.policy == "max_probability" else 1
            yield logits[step, rows], meter

    @torch.no_grad()
    def operating_points(self, validation: Iterable[tuple[Tensor, Tensor]]) -> list[OperatingPoint]:
        """Thresholds at quantiles on the validation split of whatever a rule compares, and each number of steps."""
        components = self.components()
        compared: dict[str, list[Tensor]] = {"own": [], "max_probability": [], "converged": []}
        for images, _ in validation:
            meter = Meter(components, len(images), images.device)
            states, scores = self.all_steps(images, meter)
            before = self.start(states[0][0])[0]
            for state, score in zip(states[:-1], scores[:-1], strict=True):
                compared["own"].append(score.cpu())
                compared["max_probability"].append(max_probability(meter("head", state[0])).cpu())
                compared["converged"].append(change(before, state[0]).cpu())
                before = state[0]
        levels = torch.linspace(0, 1, self.points)
        thresholds = {rule: torch.cat(values).quantile(levels).tolist() for rule, values in compared.items()}
        # Five digits: closer thresholds are one point.
        swept = [
            OperatingPoint(threshold, rule)
            for rule, values in thresholds.items()
            for threshold in sorted({float(f"{value:.5g}") for value in values}, reverse=rule == "converged")
        ]
        return [*swept, *(OperatingPoint(n, "always") for n in range(1, self.steps + 1))]


def change(before: Tensor, after: Tensor) -> Tensor:
    """How far a state has moved, relative to where it is: |after - before| / |after|, float [rows]."""
    gap = (after - before).float().flatten(1).norm(dim=1)
    return gap / after.float().flatten(1).norm(dim=1).clamp_min(torch.finfo(torch.float32).tiny)
