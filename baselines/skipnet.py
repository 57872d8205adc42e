"""SkipNet: a recurrent gate decides block by block, supervised first and then by reinforcement.

Wang, Yu, Dou, Darrell & Gonzalez, "SkipNet: Learning Dynamic Routing in Convolutional Networks", ECCV 2018, arXiv
1711.09485.

- Recurrent gate (section 3.1): the input of each block is pooled and projected to 10 numbers; one LSTM of 10 units,
  shared by all gates, reads them in turn and gives the probability that the block is executed. The first block always
  is.
- Supervised pre-training (section 3.3): hard gates forwards, the gradient of their probabilities backwards.
- Hybrid reinforcement learning (eq. 4 to 6): gates are sampled, S_i from Bernoulli(p_i), to minimise

      E[ L - (alpha / N) sum_i R_i ],    R_i = (1 - S_i) C_i,    C_i = 1

  by the gradient of the loss L for the network, and by REINFORCE for the gates, each with the return that follows it:
  ``sum_i log p_i(S_i) (L - (alpha / N) sum_{j >= i} R_j)``.

Departures. Gates start nearly open, as ConvNet-AIG's: the suite's backbone starts from branches of zero, from which
a closed gate gets no gradient, so it would never open. A ReLU follows a skipped block too (it matters only where the
shape changes). Returns are compared with their mean over the batch, which leaves the gradient's expectation as it is,
up to a factor, and lowers its variance: trainings are far shorter here. Both stages share one training: the second
takes the last `reinforcement_share` of the steps.
"""

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from baselines.backbone import Backbone
from baselines.gated import PUBLISHED_THRESHOLD, GatedResNet, Gates, log_probability, straight_through
from dynalay.classifier import Phase, TrainingState
from dynalay.components import Component
from dynalay.meter import Meter
from dynalay.parts import pooled_linear

#: Numbers that a gate sees, and units of its LSTM.
EMBEDDING = HIDDEN = 10
#: What the gates' bias starts from: open with probability 0.88.
FIRST_LOGIT = 2.0


class RecurrentGate(nn.Module):
    """One step of the gates' shared LSTM: what a block receives, embedded, to the logit of executing it."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = nn.LSTMCell(EMBEDDING, HIDDEN)
        self.logit = nn.Linear(HIDDEN, 1)
        nn.init.constant_(self.logit.bias, FIRST_LOGIT)

    def forward(self, embedded: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits [rows, 1], and the LSTM's new state, from [rows, EMBEDDING] and its state, each [rows, HIDDEN]."""
        hidden, cell = self.memory(embedded, (hidden, cell))
        return self.logit(hidden), hidden, cell


class SkipNet(GatedResNet):
    """A ResNet whose blocks are skipped by recurrent gates.

    Args:
        image_shape: (channels, height, width) of the normalised input.
        classes: the number of classes.
        depth: of the backbone, 6n + 2.
        channels: of the backbone's three stages.
        strides: of the backbone's three stages.
        pool: how the head pools, "average" or "maximum".
        alpha: the reward of skipping all blocks, in units of the loss; the budget that training aims at.
        reinforcement_share: of all steps, those of the second stage; its learning rate peaks at a tenth.
        points: thresholds of the sweep.
    """

    version = 2  # gates started at random, and most were closed for good
    search_space: ClassVar = {"alpha": (0.01, 1.0, "log"), "reinforcement_share": (0.1, 0.5, "linear")}

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        classes: int,
        *,
        depth: int = 20,
        channels: tuple[int, int, int] = (16, 32, 64),
        strides: tuple[int, int, int] = (1, 2, 2),
        pool: Literal["average", "maximum"] = "average",
        alpha: float = 0.1,
        reinforcement_share: float = 0.3,
        points: int = 10,
    ) -> None:
        super().__init__(Backbone(image_shape, classes, depth, channels, strides, pool), image_shape, classes, points)
        self.alpha = alpha
        self.phases = (Phase("supervised"), Phase("reinforcement", 1 - reinforcement_share, peak=0.1))
        self.embeddings = nn.ModuleList(pooled_linear(shape[0], EMBEDDING) for shape in self.input_shapes[1:])
        self.gate = RecurrentGate()

    def components(self) -> dict[str, Component]:
        embeddings = {
            f"block{k}.embedding": Component(embedding, (self.input_shapes[k - 1],))
            for k, embedding in enumerate(self.embeddings, start=2)
        }
        gate = Component(self.gate, ((EMBEDDING,), (HIDDEN,), (HIDDEN,)))
        return super().components() | embeddings | {"gate": gate}

    def gates(self, images: Tensor, meter: Meter) -> Gates:
        state = (images.new_zeros(len(images), HIDDEN),) * 2

        def probability(k: int, features: Tensor) -> Tensor:
            nonlocal state
            if k == 0:
                return torch.ones(len(features), device=features.device)
            logit, *new = meter("gate", meter(f"block{k + 1}.embedding", features), *state)
            state = (new[0], new[1])
            return logit.squeeze(1).float().sigmoid()

        return probability

    def training_loss(
        self, images: Tensor, labels: Tensor, meter: Meter, state: TrainingState
    ) -> tuple[Tensor, dict[str, Tensor]]:
        supervised = state.phase == "supervised"
        gates, features = self.gates(images, meter), meter("stem", images)
        log_probabilities, taken = [], []
        for k in range(self.blocks):
            probability = gates(k, features)
            if supervised:
                gate = straight_through(probability, (probability > PUBLISHED_THRESHOLD).float())
            else:
                gate = torch.bernoulli(probability.detach(), generator=state.generator)
                log_probabilities.append(log_probability(probability, gate))
            taken.append(gate.detach())
            features = self.train_block(k, features, gate, meter)
        losses = functional.cross_entropy(meter("head", features).float(), labels, reduction="none")
        executed = torch.stack(taken)  # [blocks, batch]
        logs = {"classification_loss": losses.mean().detach(), "executed": executed.mean()}
        if supervised:
            return losses.mean(), logs
        # The first block has no gate: its log-probability is 0, and it earns nothing.
        returns = hybrid_returns(losses.detach(), executed, self.alpha)
        advantages = returns - returns.mean(dim=1, keepdim=True)
        policy_loss = (torch.stack(log_probabilities)[1:] * advantages[1:]).sum(dim=0).mean()
        return losses.mean() + policy_loss, logs


def hybrid_returns(losses: Tensor, executed: Tensor, alpha: float) -> Tensor:
    """What each gate is charged with: L - (alpha / N) sum_{j >= i} (1 - S_j), float [blocks, batch] (eq. 6).

    Args:
        losses: L of each sample, [batch].
        executed: S_i, 1 for a block that was executed and 0 for one that was not, [blocks, batch].
        alpha: the reward of skipping all blocks.
    """
    skipped_from_here = (1 - executed).flip(0).cumsum(dim=0).flip(0)
    return losses - alpha / len(executed) * skipped_from_here
