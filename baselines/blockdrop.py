"""BlockDrop: a policy network looks at the image once and decides at one stroke which blocks to execute.

Wu, Nagarajan, Kumar, Rennie, Davis, Grauman & Feris, "BlockDrop: Dynamic Inference Paths in Residual Networks", CVPR
2018, arXiv 1711.08393.

- Policy (eq. 2): a small ResNet gives the probability s_k of executing each of the K blocks; u_k ~ Bernoulli(s_k). So
  that no decision becomes certain, s is bounded in training: alpha s + (1 - alpha)(1 - s), alpha = 0.8.
- Reward (eq. 3): 1 - (|u| / K)^2 if the answer is right, -gamma if it is wrong.
- Gradient (eq. 5): REINFORCE with the self-critical baseline of Rennie et al. 2017, the reward of the most likely
  decisions (s_k > 0.5).
- Training: the backbone alone; then the policy alone, by a curriculum that begins with the last block and adds one at a
  time, all earlier ones being executed; then both together.

As in the authors' code: gamma is 1 in the curriculum and 10 when both learn (CIFAR-10); the curriculum has a bonus of
0.1 for -s log s.

Departures. The paper's policy network is a ResNet-8 beside a ResNet-32 or 110. Beside the small networks of this
suite it would cost as much as it saves, so it has half the backbone's channels. The three stages share one training
by the shares given below, each with a full learning-rate cycle of its own; the authors begin with a backbone that is
trained to the end, and fine-tune it at a low rate for many more epochs than that took. So in as many epochs as a
static network has, this one is behind it: 96.5% with all blocks on small mazes, where the ResNet has 99.3 (one seed).
"""

from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional

from baselines.backbone import Backbone
from baselines.gated import PUBLISHED_THRESHOLD, GatedResNet, Gates, log_probability
from dynalay.classifier import Phase, TrainingState
from dynalay.components import Component
from dynalay.meter import Meter

#: How far probabilities are kept from 0 and 1 in training.
ALPHA = 0.8
#: In the curriculum: weight of -s log s, which keeps the policy from becoming sure too early, and gamma.
ENTROPY_BONUS = 0.1
FIRST_GAMMA = 1.0
#: Depth of the policy network.
POLICY_DEPTH = 8


class BlockDrop(GatedResNet):
    """A ResNet whose blocks are dropped by a policy network.

    Args:
        image_shape: (channels, height, width) of the normalised input.
        classes: the number of classes.
        depth: of the backbone, 6n + 2.
        channels: of the backbone's three stages.
        strides: of the backbone's three stages.
        pool: how the heads pool, "average" or "maximum".
        gamma: the penalty of a wrong answer when both learn; the larger, the more blocks are executed.
        backbone_share: of all steps, those in which the backbone learns alone.
        joint_share: of all steps, those at the end in which both learn.
        points: thresholds of the sweep.
    """

    version = 2  # gamma was 1 to the end, where the authors' code has 10
    search_space: ClassVar = {
        "gamma": (1.0, 20.0, "log"),
        "backbone_share": (0.4, 0.6, "linear"),
        "joint_share": (0.2, 0.35, "linear"),
    }

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        classes: int,
        *,
        depth: int = 20,
        channels: tuple[int, int, int] = (16, 32, 64),
        strides: tuple[int, int, int] = (1, 2, 2),
        pool: Literal["average", "maximum"] = "average",
        gamma: float = 10.0,
        backbone_share: float = 0.5,
        joint_share: float = 0.35,
        points: int = 10,
    ) -> None:
        super().__init__(Backbone(image_shape, classes, depth, channels, strides, pool), image_shape, classes, points)
        if not (backbone_share > 0 and joint_share > 0 and backbone_share + joint_share < 1):
            raise ValueError(f"backbone_share={backbone_share}, joint_share={joint_share}: the policy needs steps too")
        self.gamma = gamma
        self.phases = (
            Phase("backbone"),
            Phase("curriculum", backbone_share),
            Phase("joint", 1 - joint_share),
        )
        narrow = (channels[0] // 2, channels[1] // 2, channels[2] // 2)
        self.policy = Backbone(image_shape, self.blocks, POLICY_DEPTH, narrow, strides, pool)

    def components(self) -> dict[str, Component]:
        return {"policy": Component(self.policy, (self.image_shape,))} | super().components()

    def gates(self, images: Tensor, meter: Meter) -> Gates:
        probabilities = meter("policy", images).float().sigmoid()
        return lambda k, features: probabilities[:, k]

    def training_loss(
        self, images: Tensor, labels: Tensor, meter: Meter, state: TrainingState
    ) -> tuple[Tensor, dict[str, Tensor]]:
        joint = state.phase == "joint"
        for name, part in self.named_children():
            part.train((name == "policy") == (state.phase == "curriculum") or joint)
        if state.phase == "backbone":
            everything = torch.ones(len(images), self.blocks, device=images.device)
            loss = functional.cross_entropy(self._logits(images, everything, meter), labels)
            return loss, {"classification_loss": loss.detach()}

        probabilities = bounded(meter("policy", images).float().sigmoid())
        sampled = torch.bernoulli(probabilities.detach(), generator=state.generator)
        likely = (probabilities.detach() > PUBLISHED_THRESHOLD).float()
        # The curriculum: how many of the last blocks are decided on.
        decided = self.blocks if joint else min(self.blocks, 1 + int(state.progress * self.blocks))
        sampled[:, : self.blocks - decided] = likely[:, : self.blocks - decided] = 1
        gamma = self.gamma if joint else FIRST_GAMMA
        with torch.no_grad():
            baseline = reward(self._logits(images, likely, meter).argmax(dim=1) == labels, likely, gamma)
        with torch.set_grad_enabled(joint):
            logits = self._logits(images, sampled, meter)
        earned = reward(logits.argmax(dim=1) == labels, sampled, gamma)
        drawn = log_probability(probabilities, sampled)[:, self.blocks - decided :]
        policy_loss = -(drawn.sum(dim=1) * (earned - baseline)).mean()
        classification = functional.cross_entropy(logits, labels)
        if joint:
            loss = policy_loss + classification
        else:
            loss = policy_loss + ENTROPY_BONUS * (probabilities * probabilities.log()).sum(dim=1).mean()
        logs = {
            "classification_loss": classification.detach(),
            "reward": earned.mean(),
            "reward_greedy": baseline.mean(),
            "executed": sampled.mean(),
        }
        return loss, logs

    def _logits(self, images: Tensor, executed: Tensor, meter: Meter) -> Tensor:
        """Logits with block k weighted by column k of `executed`, float [batch, blocks]; all blocks are computed."""
        features = meter("stem", images)
        for k in range(self.blocks):
            features = self.train_block(k, features, executed[:, k], meter)
        return meter("head", features)


def bounded(probabilities: Tensor) -> Tensor:
    """Alpha s + (1 - alpha)(1 - s): in [1 - alpha, alpha]."""
    return ALPHA * probabilities + (1 - ALPHA) * (1 - probabilities)


def reward(correct: Tensor, executed: Tensor, gamma: float) -> Tensor:
    """1 - (share of executed blocks)^2 where the answer is right, -gamma elsewhere (eq. 3): float [batch].

    Args:
        correct: bool [batch].
        executed: 1 or 0, float [batch, blocks].
        gamma: the penalty of a wrong answer.
    """
    return torch.where(correct, 1 - executed.mean(dim=1).square(), -gamma)
