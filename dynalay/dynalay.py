"""DynaLay: FPI layers, and an agent that chooses which of them to evaluate again, or to answer.

Mathur & Plis, "DynaLay: An Introspective Approach to Dynamic Layer Selection for Deep Networks", arXiv 2312.12781.
`docs/dynalay.md` specifies it whole, and says of each choice whether the paper states it or it is ours.
"""

import math
from collections.abc import Callable, Iterable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from dynalay import policies
from dynalay.agent import Agent
from dynalay.cells import CELLS
from dynalay.classifier import AdaptiveClassifier, OperatingPoint, Phase, TrainingState
from dynalay.components import Component
from dynalay.fixed_point import SOLVERS
from dynalay.fpi import FPILayer
from dynalay.introspection import scalar_features
from dynalay.meter import Meter
from dynalay.network import FPINetwork, InnerState
from dynalay.policies import AgentPolicy, Policy


class DynaLay(AdaptiveClassifier):
    """The image model: a convolutional stem, FPI layers at falling resolution, pooling and a linear head.

    Round 0 runs every cell once (the direct pass).  In each further round the agent looks at the inner state of every
    open sample and takes the direct action, or names a layer; that layer is solved from where it stands, and the layers
    above take one step.  After the last round every sample answers.

    The reward of a sample is ``correct - price * (macs - direct) / direct - redundancy_penalty * redundant`` with
    `direct` the MACs of the direct pass: a price of 0.01 says that compute worth one more direct pass has to bring one
    percentage point of accuracy.  The price is drawn anew for each sample in training and shown to the agent, so that
    the trained model gives the whole curve; it is the knob of the operating points.

    Args:
        image_shape: (channels, height, width) of the normalised input.
        classes: the number of classes.
        channels: of each layer.
        strides: of each layer's transition.
        fpi: which layers are FPI layers; the others are conventional (one evaluation, never chosen).
        cell: what the layers iterate; see `dynalay.cells`.
        rounds: how often the agent may act on a sample.
        iterations: evaluations of a cell that one re-evaluation may take.
        tolerance: relative residual at which a sample's layer counts as solved.
        solver: "picard", "anderson" or "broyden".
        gradient: "implicit", "phantom" or "unrolled".
        phantom_steps: differentiated steps of the phantom gradient.
        pool: how the head pools.
        hidden: the width of the agent's memory.
        lowest_price, highest_price: of the log-uniform distribution of prices in training; also the curve's ends.
        points: operating points of the agent.
        reward: what an answer earns: 1 if it is correct, or the probability it gives to the label.
        redundancy_penalty: mu of the reward.
        entropy_bonus: weight of the policy's entropy at the start of the agent's phase; it falls linearly to zero.
        warmup_share, joint_share: of all steps; the agent's own phase takes what is between.
        direct_weight: of the direct pass in the warm-up's loss; every later round has weight 1.
        sees_activations: whether the agent sees pooled activations beside the scalars.
        controls: whether the operating points include the controls (random, always, never, entropy).
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        classes: int,
        *,
        channels: tuple[int, ...] = (16, 32, 64),
        strides: tuple[int, ...] = (1, 2, 2),
        fpi: tuple[bool, ...] = (True, True, True),
        cell: Literal["residual", "recall"] = "residual",
        rounds: int = 4,
        iterations: int = 4,
        tolerance: float = 1e-2,
        solver: Literal["picard", "anderson", "broyden"] = "picard",
        gradient: Literal["implicit", "phantom", "unrolled"] = "unrolled",
        phantom_steps: int = 2,
        pool: Literal["average", "maximum"] = "average",
        hidden: int = 32,
        lowest_price: float = 1e-3,
        highest_price: float = 0.3,
        points: int = 10,
        reward: Literal["correct", "probability"] = "probability",
        redundancy_penalty: float = 0.02,
        entropy_bonus: float = 0.02,
        warmup_share: float = 0.6,
        joint_share: float = 0.1,
        direct_weight: float = 1.0,
        sees_activations: bool = True,
        controls: bool = True,
    ) -> None:
        super().__init__(image_shape, classes)
        if not len(channels) == len(strides) == len(fpi):
            raise ValueError(f"channels={channels}, strides={strides} and fpi={fpi} must have one entry per layer")
        if not 0 <= warmup_share < 1 or not 0 <= joint_share < 1 - warmup_share:
            raise ValueError(
                f"warmup_share={warmup_share} and joint_share={joint_share} must leave the agent some steps"
            )
        self.rounds = rounds
        self.reward = reward
        self.redundancy_penalty = redundancy_penalty
        self.entropy_bonus = entropy_bonus
        self.direct_weight = direct_weight
        self.prices = (lowest_price, highest_price)
        self.points = points
        self.controls = controls
        self.phases = (
            Phase("warm-up", 0.0),
            Phase("agent", warmup_share),
            *([Phase("joint", 1 - joint_share, peak=0.1)] if joint_share else []),
        )
        stem = nn.Sequential(*_conv_norm(image_shape[0], channels[0]), nn.ReLU())
        transitions = [
            nn.Sequential(*_conv_norm(below, width, stride))
            for below, width, stride in zip((channels[0], *channels), channels, strides, strict=False)
        ]
        layers = [
            FPILayer(
                CELLS[cell](width),
                solver=SOLVERS[solver](),
                gradient=gradient,
                relative_tolerance=tolerance,
                max_iterations=iterations,
                phantom_steps=phantom_steps,
            )
            for width in channels
        ]
        pooling = nn.AdaptiveAvgPool2d(1) if pool == "average" else nn.AdaptiveMaxPool2d(1)
        head = nn.Sequential(nn.ReLU(), pooling, nn.Flatten(), nn.Linear(channels[-1], classes))
        self.network = FPINetwork(stem, transitions, layers, head, image_shape, fpi)
        self.agent = Agent(channels, scalar_features(len(layers)), hidden, sees_activations)
        self.allowed: Tensor
        self.register_buffer("allowed", torch.tensor([True, *fpi]), persistent=False)
        self.choosable = tuple(number for number, solvable in enumerate(fpi, start=1) if solvable)

    def components(self) -> dict[str, Component]:
        shapes = self.network.state_shapes if self.agent.sees_activations else ()
        agent = Component(self.agent, ((scalar_features(len(self.network.layers)),), (self.agent.hidden,), *shapes))
        return self.network.components() | {"agent": agent}

    # Inference

    def classify(self, images: Tensor, point: OperatingPoint, meter: Meter) -> Tensor:
        policy = self._policy(images, point, meter)
        state, actions = self._run(images, policy, meter)
        for number, layer in enumerate(range(state.residuals.shape[1]), start=1):
            meter.note(f"residual{number}", state.residuals[:, layer])
        for round_, action in enumerate(actions, start=1):
            meter.note(f"action{round_}", action)
        return state.logits

    def operating_points(self, validation: Iterable[tuple[Tensor, Tensor]]) -> list[OperatingPoint]:
        """A geometric grid of prices, the dearest first; no threshold needs choosing.  Then the controls."""
        lowest, highest = self.prices
        steps = max(1, self.points - 1)
        own = [OperatingPoint(highest * (lowest / highest) ** (index / steps)) for index in range(self.points)]
        if not self.controls:
            return own
        return [
            *own,
            OperatingPoint(0, "never"),
            *(OperatingPoint(rounds, "always") for rounds in range(1, self.rounds + 1)),
            *(OperatingPoint(share, "random") for share in (0.15, 0.3, 0.5, 0.7, 0.85)),
            *(OperatingPoint(threshold, "entropy") for threshold in (0.9, 0.7, 0.5, 0.3, 0.1, 0.03)),
        ]

    @property
    def default_point(self) -> OperatingPoint:
        """Every round used: what the main model can do, whoever decides."""
        return OperatingPoint(self.rounds, "always")

    def _policy(self, images: Tensor, point: OperatingPoint, meter: Meter) -> Policy:
        if point.policy == "own":
            price = torch.full((len(images),), float(point.knob), device=images.device)
            return self._agent_policy(price, meter)
        if not self.choosable:
            return policies.always((0,), 0)
        if point.policy == "random":
            return policies.random(images, self.choosable, point.knob)
        if point.policy == "entropy":
            return policies.entropy_threshold(self.choosable, point.knob)
        return policies.always(self.choosable, int(point.knob))  # "always", and "never" with 0 rounds

    def _agent_policy(self, price: Tensor, meter: Meter, generator: torch.Generator | None = None) -> AgentPolicy:
        return AgentPolicy(
            self.allowed, price, self.rounds, self.agent.hidden, self.agent.sees_activations, meter, generator
        )

    def _run(
        self,
        images: Tensor,
        policy: Policy,
        meter: Meter,
        state: InnerState | None = None,
        answered: Callable[[InnerState], None] = lambda state: None,
        learning: bool = True,
    ) -> tuple[InnerState, list[Tensor]]:
        """Rounds until every sample has answered; also the actions of each round, int64 [batch], -1 after the answer.

        Args:
            images: [batch, channels, height, width].
            policy: who decides.
            meter: what executes.
            state: the inner state after the direct pass, if it is known.
            answered: told of the state after the direct pass (if `state` is None) and after every round.
            learning: whether the main model's graph is kept, where gradients are enabled.
        """
        if state is None:
            state = self.network.direct(images, meter)
            answered(state)
        rows = torch.arange(len(images), device=images.device)
        previous = torch.zeros_like(rows)
        history = []
        for round_ in range(1, self.rounds + 1):
            if len(rows):
                actions = policy(state, rows, round_, previous)
                previous = previous.index_copy(0, rows, actions)
            history.append(torch.full_like(previous, -1).index_copy(0, rows, previous[rows]))
            rows = rows[previous[rows] > 0]
            for layer in self.choosable:
                chosen = rows[previous[rows] == layer]
                if len(chosen):
                    with torch.set_grad_enabled(learning and torch.is_grad_enabled()):
                        state = self.network.re_evaluate(state, layer - 1, chosen, meter)
            if len(rows):
                answered(state)
        return state, history

    # Training

    def training_loss(
        self, images: Tensor, labels: Tensor, meter: Meter, state: TrainingState
    ) -> tuple[Tensor, dict[str, Tensor]]:
        if state.phase == "warm-up":
            return self._warm_up_loss(images, labels, meter, state.generator)
        # What the agent learns from is the network as it will be used: BatchNorm with the statistics of the warm-up.
        self.network.eval()
        if state.phase == "agent":
            bonus = self.entropy_bonus * (1 - state.progress)
            return self._agent_loss(images, labels, meter, state.generator, bonus)
        # Joint: random paths for the main model still, since a path that is no longer trained decays, and then no price
        # leads down it again.
        agent_loss, metrics = self._agent_loss(images, labels, meter, state.generator, entropy_bonus=0.0)
        main_loss, main_metrics = self._warm_up_loss(images, labels, meter, state.generator)
        return agent_loss + main_loss, metrics | main_metrics

    def _warm_up_loss(
        self, images: Tensor, labels: Tensor, meter: Meter, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Random action sequences with a loss at every round, so that all paths are sound."""
        losses: list[Tensor] = []
        accuracies: list[Tensor] = []

        def answered(state: InnerState) -> None:
            losses.append(functional.cross_entropy(state.logits.float(), labels))
            accuracies.append((state.logits.detach().argmax(dim=1) == labels).float().mean())

        policy = policies.uniform(self.allowed, generator) if self.choosable else policies.always((0,), 0)
        state, _ = self._run(images, policy, meter, answered=answered)
        weights = torch.tensor([self.direct_weight] + [1.0] * (len(losses) - 1), device=labels.device)
        loss = (weights * torch.stack(losses)).sum() / weights.sum()
        metrics = {"accuracy_direct": accuracies[0], "accuracy_last": accuracies[-1]}
        return loss, metrics | self._residual_metrics(state)

    def _agent_loss(
        self, images: Tensor, labels: Tensor, meter: Meter, generator: torch.Generator, entropy_bonus: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Policy gradient with a self-critical baseline: the reward of the agent's own greedy actions (Rennie 2017).

        The main model gets no gradient.
        """
        low, high = (math.log(price) for price in self.prices)
        uniform = torch.rand(len(images), generator=generator, device=images.device)
        price = (low + (high - low) * uniform).exp()
        with torch.no_grad():
            direct = self.network.direct(images, meter)
            start = meter.executions.clone()
            greedy = self._agent_policy(price, meter)
            state, _ = self._run(images, greedy, meter, direct.copy())
            baseline = self._reward(state, labels, meter.executions - start, greedy)
        start = meter.executions.clone()
        policy = self._agent_policy(price, meter, generator)
        state, actions = self._run(images, policy, meter, direct, learning=False)
        with torch.no_grad():
            reward = self._reward(state, labels, meter.executions - start, policy)
        advantage = reward - baseline
        loss = -(advantage * policy.log_probability + entropy_bonus * policy.entropy).mean()
        metrics = {
            "reward": reward.mean(),
            "reward_greedy": baseline.mean(),
            "action_entropy": policy.entropy.detach().sum() / policy.decisions.sum(),
            "accuracy_sampled": (state.logits.detach().argmax(dim=1) == labels).float().mean(),
        }
        taken = torch.stack(actions)
        decided = (taken >= 0).sum()
        for action in range(len(self.allowed)):
            metrics[f"choice{action}"] = (taken == action).sum() / decided
        return loss, metrics | self._residual_metrics(state)

    def _reward(self, state: InnerState, labels: Tensor, executions: Tensor, policy: AgentPolicy) -> Tensor:
        """Each sample's reward [batch] for the answers in `state`, which `executions` beyond the direct pass led to."""
        macs = self.component_macs().to(labels.device)
        once = torch.tensor(
            [not name.endswith("update") and name != "agent" for name in self.components()], device=labels.device
        )
        spent = (executions * macs).sum(dim=1) / (once * macs).sum()
        if self.reward == "probability":
            worth = state.logits.float().softmax(dim=1).gather(1, labels[:, None]).squeeze(1)
        else:
            worth = (state.logits.argmax(dim=1) == labels).float()
        return worth - policy.price * spent - self.redundancy_penalty * policy.redundant

    @staticmethod
    def _residual_metrics(state: InnerState) -> dict[str, Tensor]:
        """Each layer's residual (geometric mean) and the share of samples that end with it solved."""
        residuals = state.residuals.clamp_min(1e-6).log().mean(dim=0).exp()
        metrics = {f"residual{number}": residual for number, residual in enumerate(residuals, start=1)}
        converged = state.converged.float().mean(dim=0)
        return metrics | {f"converged{number}": share for number, share in enumerate(converged, start=1)}


def _conv_norm(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs)]
