"""Networks with early exits: what SDN and MSDNet have in common.

The network is cut into segments, each followed by an exit that classifies. A sample leaves at the first exit whose
confidence, the highest probability of its answer, reaches that exit's threshold; the last exit takes all who are left.
The methods differ in what segments and exits are made of, in how they are trained, and in how thresholds are chosen.
"""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from dynalay.classifier import AdaptiveClassifier, OperatingPoint
from dynalay.meter import Meter

#: What a segment hands to the next one, or an exit to the next exit: tensors of the samples still in the batch.
State = tuple[Tensor, ...]


class EarlyExitNetwork(AdaptiveClassifier):
    """A chain of segments with an exit after each.

    A subclass declares the components ``segment1`` ... ``segmentN`` and runs its exits in `run_exit`. An operating
    point's setting holds a threshold for each early exit; None stands for an exit that is not run.

    Args:
        image_shape: (channels, height, width) of the normalised input.
        classes: the number of classes.
        exits: how many exits there are, the last one included.
    """

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
        for n, threshold in enumerate((*point.setting, -torch.inf), start=1):
            state = self.run_segment(n, state, rows, meter)
            if threshold is None:
                continue
            logits, memory = self.run_exit(n, state, memory, rows, meter)
            leaves = confidence(logits) >= threshold
            answered.append(rows[leaves])
            answers.append(logits[leaves])
            rows, state, memory = rows[~leaves], _kept(state, ~leaves), _kept(memory, ~leaves)
            if not len(rows):
                break
        return torch.cat(answers)[torch.cat(answered).argsort()]

    def classify_at(self, images: Tensor, points: Sequence[OperatingPoint]) -> Iterator[tuple[Tensor, Meter]]:
        meter = Meter(components := self.components(), len(images), images.device)
        rows = torch.arange(len(images), device=images.device)
        state: State = (images,)
        memory: State = ()
        answers, sure, of_segment, of_exit = [], [], [], []
        for n in range(1, self.exits + 1):
            before = meter.executions[0].clone()
            state = self.run_segment(n, state, rows, meter)
            between = meter.executions[0].clone()
            logits, memory = self.run_exit(n, state, memory, rows, meter)
            of_segment.append(between - before)
            of_exit.append(meter.executions[0] - between)
            answers.append(logits)
            sure.append(confidence(logits))
        for point in points:
            meter = Meter(components, len(images), images.device)
            chosen, stays = answers[-1].clone(), torch.ones_like(rows, dtype=torch.bool)
            for n, threshold in enumerate((*point.setting, -torch.inf)):
                meter.executions[stays] += of_segment[n]
                if threshold is None:
                    continue
                meter.executions[stays] += of_exit[n]
                leaves = stays & (sure[n] >= threshold)
                chosen[leaves] = answers[n][leaves]
                stays = stays & ~leaves
            yield chosen, meter

    @torch.no_grad()
    def validated(self, validation: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
        """Every exit's confidence, the last included, on the validation split: float [samples, exits], on the CPU."""
        components = self.components()
        parts = []
        for images, _ in validation:
            logits = self.all_exits(images, Meter(components, len(images), images.device))
            parts.append(torch.stack([confidence(each) for each in logits], dim=1).cpu())
        return torch.cat(parts)


def confidence(logits: Tensor) -> Tensor:
    """The highest probability of each answer, float [rows], from [rows, classes]."""
    return logits.float().softmax(dim=1).amax(dim=1)


def _kept(state: State, stays: Tensor) -> State:
    return tuple(part[stays] for part in state)
