"""A recursive network with learned halting, as in the hierarchical and the tiny recursive model.

Wang, Li, Sun, Chen, Liu, Wu, Lu, Song & Yadkori, "Hierarchical Reasoning Model", arXiv 2506.21734, 2025;
Jolicoeur-Martineau, "Less is More: Recursive Reasoning with Tiny Networks", arXiv 2510.04871, 2025.

- Two states of one shape, latent z and answer y. A step updates z so many times from the input, the answer and itself,
  ``z <- f(z, x + y)``, and then the answer, ``y <- f(y, z)``, by one and the same network f (TRM, section 4).
- Deep supervision: a loss after every step; between steps the states are detached.
- Halting (HRM, section 2, "adaptive computation time"): a head gives Q_halt and Q_continue, each through a sigmoid. The
  targets after step m are ``[answer is right]`` and, one step ahead, Q_halt if that step is the last, else
  max(Q_halt, Q_continue); the loss is binary cross-entropy, weight 0.5. A sample halts where Q_halt > Q_continue.
- `halting: correctness` is TRM's simplification: one head, the first of these targets, and no look ahead. A sample
  halts where its probability exceeds one half.

What a step learns comes from the updates within it alone, because states are detached between steps. So what has to
travel farther than one step reaches is learnt slowly: on small mazes, with one layer at full resolution, 12 epochs gave
83.8% where PonderNet, which trains through all steps, had 98.8 (one seed). The tiny recursive model has 7 updates with
gradients in a step, and both papers train for tens of thousands of epochs.

Users of these models ask whether the learned halting is worth more than stopping when sure, or when converged. Both
rules are evaluated on the same weights (`baselines.stepping`).

Departures. The papers update the weights after each step of deep supervision and refill halted places of the batch.
Here the losses of all steps of a batch are averaged into one update, and all steps are always taken in training, so
there is no exploration either. No stablemax, no averaging of weights. The network f is a cell of the suite, not a
transformer, and has no norm at its end: on small mazes one over the channels of each place slowed learning (57% after
four epochs, in place of 67; one seed). The halting head starts from weights of zero, as in the authors' code, and from
the log-odds of being right by chance, where theirs starts from -5: their puzzles are never solved by chance.
"""

import math
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from baselines.exits import State
from baselines.stepping import SteppingNetwork
from dynalay.classifier import TrainingState
from dynalay.components import Component
from dynalay.meter import Meter
from dynalay.parts import pooled_linear

#: Weight of the halting loss, HRM's.
HALTING_WEIGHT = 0.5


class Recursive(SteppingNetwork):
    """A recursive network that learns when its answer will not get better.

    A sample halts where the value of halting is above that of continuing by the operating point's knob or, with
    `halting: correctness`, where the logit of a right answer is above the knob; the papers' is 0.

    Args:
        image_shape: (channels, height, width) of the normalised input.
        classes: the number of classes.
        channels: of each layer; the last one's cell takes the steps.
        strides: of each layer's transition.
        cell: the network f; see `dynalay.cells`.
        pool: how the head and the halting head pool.
        steps: how many there may be; each has a loss of its own.
        latent_updates: of z in each step.
        halting: "q" as HRM, "correctness" as TRM.
        points: how many thresholds each sweep has.
    """

    version = 2  # the halting head started from random weights, and its loss drowned that of the answers
    search_space: ClassVar = {"latent_updates": [1, 2], "halting": ["q", "correctness"]}

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        classes: int,
        *,
        channels: tuple[int, ...] = (16, 32, 64),
        strides: tuple[int, ...] = (1, 2, 2),
        cell: Literal["standardised", "residual"] = "standardised",
        pool: Literal["average", "maximum"] = "average",
        steps: int = 6,
        latent_updates: int = 1,
        halting: Literal["q", "correctness"] = "q",
        points: int = 10,
    ) -> None:
        super().__init__(image_shape, classes, channels, strides, cell, pool, steps, points)
        self.latent_updates = latent_updates
        self.q_learning = halting == "q"
        self.halting = pooled_linear(channels[-1], 2 if self.q_learning else 1, pool)
        # Of an answer by chance, the log-odds of being right.
        weight, bias = self.halting.parameters()
        nn.init.zeros_(weight)
        nn.init.constant_(bias, -math.log(max(1, classes - 1)))

    def components(self) -> dict[str, Component]:
        return super().components() | {"halting": Component(self.halting, (self.state_shape,))}

    def start(self, u: Tensor) -> State:
        """The answer y and the latent z."""
        return torch.zeros_like(u), torch.zeros_like(u)

    def step(self, state: State, u: Tensor, rows: Tensor, meter: Meter) -> tuple[State, Tensor]:
        state = self._recursion(state, u, rows, meter)
        q = meter("halting", state[0], rows=rows).float()
        return state, advantage_of_halting(q) if self.q_learning else q[:, 0]

    def _recursion(self, state: State, u: Tensor, rows: Tensor, meter: Meter) -> State:
        y, z = state
        for _ in range(self.latent_updates):
            z = meter("cell", z, u + y, rows=rows)
        return meter("cell", y, z, rows=rows), z

    def training_loss(
        self, images: Tensor, labels: Tensor, meter: Meter, state: TrainingState
    ) -> tuple[Tensor, dict[str, Tensor]]:
        rows = torch.arange(len(images), device=images.device)
        u = self.encode(images, meter)
        hidden = self.start(u)
        answers, values = [], []
        for _ in range(self.steps):
            hidden = self._recursion((hidden[0].detach(), hidden[1].detach()), u, rows, meter)
            answers.append(meter("head", hidden[0]).float())
            values.append(meter("halting", hidden[0]).float())
        losses = torch.stack([functional.cross_entropy(answer, labels) for answer in answers])
        correct = torch.stack([(answer.argmax(dim=1) == labels).float() for answer in answers])
        q = torch.stack(values)  # [steps, batch, 1 or 2]
        halting = functional.binary_cross_entropy_with_logits(q[..., 0], correct)
        if self.q_learning:
            halting = halting + functional.binary_cross_entropy_with_logits(q[:-1, :, 1], continue_targets(q))
        logs = {
            "classification_loss": losses.mean().detach(),
            "halting_loss": halting.detach(),
            "accuracy_first": correct[0].mean(),
            "accuracy_last": correct[-1].mean(),
        }
        return losses.mean() + HALTING_WEIGHT * halting, logs


def advantage_of_halting(q: Tensor) -> Tensor:
    """By how much the value of halting is above that of continuing, float [rows].

    Values are compared, not their logits: where both are near 1, the logits may be far apart.

    Args:
        q: logits of Q_halt and Q_continue, [rows, 2].
    """
    values = q.sigmoid()
    return values[:, 0] - values[:, 1]


def continue_targets(q: Tensor) -> Tensor:
    """What Q_continue after each step but the last is to predict, float [steps - 1, batch].

    Args:
        q: logits of Q_halt and Q_continue after each step, [steps, batch, 2].
    """
    values = q.detach().sigmoid()
    ahead = values[1:].amax(dim=2)
    return torch.cat([ahead[:-1], values[-1:, :, 0]])
