"""Networks with early exits: what BranchyNet, SDN and MSDNet have in common.

The network is cut into segments, each followed by an exit that classifies. A sample leaves at the first exit at which
it is sure enough, by that exit's threshold; the last exit takes all who are left. Unless a method says otherwise, how
sure it is is the highest probability of its answer. The methods differ in what segments and exits are made of, in how
they are trained, and in how thresholds are chosen.
"""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from dynalay.classifier import AdaptiveClassifier, OperatingPoint
from dynalay.confidence import max_probability
from dynalay.meter import Meter
from dynalay.rows import gathered, partition, take

#: What a segment hands to the next one, or an exit to the next exit: tensors of the samples still in the batch.
State = tuple[Tensor, ...]


class EarlyExitNetwork(AdaptiveClassifier):
    """A chain of segments with an exit after each.

    A subclass declares the components ``segment1`` ... ``segmentN`` and runs its exits in `run_exit`. An operating
    point's setting holds a threshold for each early exit; None stands for an exit that is not run, unless `is_run`
    says otherwise.

    Args:
        image_shape: (channels, height, width) of the normalised input.
        classes: the number of classes.
        exits: how many exits there are, the last one included.
    """

    #: What `score` gives, in a word.
    score_name: ClassVar[str] = "confidence"

    def __init__(self, image_shape: tuple[int, int, int], classes: int, exits: int) -> None:
        super().__init__(image_shape, classes)
        self.exits = exits

    @property
    def default_point(self) -> OperatingPoint:
        """Nobody leaves early."""
        return OperatingPoint(1.0, setting=(None,) * (self.exits - 1))

    @abstractmethod
    def run_exit(self, n: int, state: State, memory: State, rows: Tensor, meter: Meter) -> tuple[Tensor, State]:
        """The logits [rows, classes] of exit `n` (from 1), and what the next exit needs to remember of it.

        Args:
            n: the exit.
            state: what segment `n` gave.
            memory: what the exit before gave; empty at first.
            rows: int64, the samples that are still in the batch.
            meter: what executes.
        """

    def score(self, logits: Tensor) -> Tensor:
        """What is compared with a threshold, float [rows], from [rows, classes]: the highest probability."""
        return max_probability(logits)

    def leaves(self, scores: Tensor, threshold: Any) -> Tensor:
        """Whether samples with these scores, [rows], leave at an exit with this threshold: bool [rows]."""
        return scores >= threshold

    def is_run(self, threshold: Any) -> bool:
        """Whether an early exit with this threshold is run at all."""
        return threshold is not None

    def run_segment(self, n: int, state: State, rows: Tensor, meter: Meter) -> State:
        """What segment `n` (from 1) makes of the state of `rows`."""
        output = meter(f"segment{n}", *state, rows=rows)
        return output if isinstance(output, tuple) else (output,)

    def all_exits(self, images: Tensor, meter: Meter) -> list[Tensor]:
        """The logits [batch, classes] of every exit, the last included, with nobody leaving."""
        rows = torch.arange(len(images), device=images.device)
        state: State = (images,)
        memory: State = ()
        answers = []
        for n in range(1, self.exits + 1):
            state = self.run_segment(n, state, rows, meter)
            logits, memory = self.run_exit(n, state, memory, rows, meter)
            answers.append(logits)
        return answers

    def classify(self, images: Tensor, point: OperatingPoint, meter: Meter) -> Tensor:
        rows = torch.arange(len(images), device=images.device)
        state: State = (images,)
        memory: State = ()
        answered, answers = [], []
        for n, threshold in enumerate(point.setting, start=1):
            state = self.run_segment(n, state, rows, meter)
            if not self.is_run(threshold):
                continue
            logits, memory = self.run_exit(n, state, memory, rows, meter)
            score = self.score(logits)
            leaves = self.leaves(score, threshold)
            numbers = {self.score_name: score, "threshold": threshold}
            meter.decision(f"exit {n}", ("go on", "leave"), leaves, numbers, logits, rows)
            left = int(leaves.sum())
            if len(rows) and not left:  # an empty batch has an answer too
                continue
            leave, stay = partition(leaves, left)
            answered.append(take(rows, leave))
            answers.append(take(logits, leave))
            rows, state, memory = take(rows, stay), _kept(state, stay), _kept(memory, stay)
            if not len(rows):
                break
        else:
            state = self.run_segment(self.exits, state, rows, meter)
            answered.append(rows)
            answers.append(self.run_exit(self.exits, state, memory, rows, meter)[0])
        return gathered(answered, answers)

    def classify_at(self, images: Tensor, points: Sequence[OperatingPoint]) -> Iterator[tuple[Tensor, Meter]]:
        meter = Meter(components := self.components(), len(images), images.device)
        rows = torch.arange(len(images), device=images.device)
        state: State = (images,)
        memory: State = ()
        answers, scores, of_segment, of_exit = [], [], [], []
        for n in range(1, self.exits + 1):
            before = meter.executions.clone()
            state = self.run_segment(n, state, rows, meter)
            between = meter.executions.clone()
            logits, memory = self.run_exit(n, state, memory, rows, meter)
            of_segment.append(between - before)
            of_exit.append(meter.executions - between)
            answers.append(logits)
            scores.append(self.score(logits))
        for point in points:
            meter = Meter(components, len(images), images.device)
            chosen, stays = answers[-1].clone(), torch.ones_like(rows, dtype=torch.bool)
            for n, threshold in enumerate(point.setting):
                meter.executions[stays] += of_segment[n][stays]
                if not self.is_run(threshold):
                    continue
                meter.executions[stays] += of_exit[n][stays]
                leaves = stays & self.leaves(scores[n], threshold)
                chosen[leaves] = answers[n][leaves]
                stays = stays & ~leaves
            meter.executions[stays] += (of_segment[-1] + of_exit[-1])[stays]
            yield chosen, meter

    @torch.no_grad()
    def validated(self, validation: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
        """Every exit's `score`, the last included, on the validation split: float [samples, exits], on the CPU."""
        components = self.components()
        parts = []
        for images, _ in validation:
            logits = self.all_exits(images, Meter(components, len(images), images.device))
            parts.append(torch.stack([self.score(each) for each in logits], dim=1).cpu())
        return torch.cat(parts)


def _kept(state: State, stay: Tensor) -> State:
    return tuple(take(part, stay) for part in state)
