"""The workshop version of the method, around any network of FPI layers: rounds, and an agent taught by REINFORCE.

Mathur & Plis, "DynaLay: An Introspective Approach to Dynamic Layer Selection for Deep Networks", arXiv 2312.12781.
`docs/dynalay.md` says of each choice whether the paper states it or it is ours. The second version is
`dynalay.dynalay`.
"""

import math
from collections.abc import Callable, Iterable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from dynalay import policies
from dynalay.agent import Agent, state_channels
from dynalay.classifier import AdaptiveClassifier, Images, Labels, Logits, Loss, OperatingPoint, TrainingState
from dynalay.components import Component
from dynalay.controls import control_points, control_policy
from dynalay.introspection import scalar_features
from dynalay.meter import Meter
from dynalay.network import FPINetwork, InnerState
from dynalay.policies import AgentPolicy, Policy

#: The lowest price in training: at it, one more direct pass has to bring a tenth of a percentage point.
LOWEST_PRICE = 1e-3
#: Weight of the policy's entropy when the agent begins to learn; it falls linearly to zero.
ENTROPY_BONUS = 0.02


class IntrospectiveClassifier(AdaptiveClassifier):
    """An FPI network with an agent that looks into it.

    Round 0 runs every cell once (the direct pass).  In each further round the agent looks at the inner state of every
    open sample and takes the direct action, or names a layer; that layer is solved from where it stands, and the layers
    above take one step.  After the last round every sample answers.

    The reward of a sample is ``worth - price * (macs - direct) / direct - redundancy_penalty * redundant`` with
    `direct` the MACs of the direct pass: a price of 0.01 says that compute worth one more direct pass has to bring one
    percentage point of accuracy.  In training, the price is drawn for each sample and shown to the agent, so that
    the trained model gives the whole curve; it is the knob of the operating points.

    The network learns under random choices, with a loss after every round; the agent from the network as it is then.

    Args:
        network: any stem, FPI layers and head; states are [channels, height, width], [tokens, channels] or [channels].
        classes: the number of classes.
        rounds: how often the agent may act on a sample.
        sees_activations: whether the agent sees pooled activations beside the scalars.
        highest_price: of the log-uniform distribution of prices in training, which begins at `LOWEST_PRICE`; the two
            are also the curve's ends.
        points: operating points of the agent.
        controls: whether the operating points include those of `dynalay.controls`.
        reward: what an answer is worth: 1 if it is correct, or the probability it gives to the label.
        redundancy_penalty: for each choice of a layer that already is at its fixed point.
        jacobian_penalty: weight of the layers' mean squared Jacobian norm in the network's loss.
    """

    has_agent = True

    def __init__(
        self,
        network: FPINetwork,
        classes: int,
        *,
        rounds: int = 4,
        sees_activations: bool = True,
        highest_price: float = 0.3,
        points: int = 10,
        controls: bool = True,
        reward: Literal["correct", "probability"] = "probability",
        redundancy_penalty: float = 0.02,
        jacobian_penalty: float = 0.0,
    ) -> None:
        super().__init__(network.input_shape, classes)
        self.rounds = rounds
        self.prices = (LOWEST_PRICE, highest_price)
        self.points = points
        self.controls = controls
        self.reward = reward
        self.redundancy_penalty = redundancy_penalty
        self.jacobian_penalty = jacobian_penalty
        self.network = network
        channels = [state_channels(shape) for shape in network.state_shapes]
        self.agent = Agent(channels, scalar_features(len(channels)), sees_activations=sees_activations)
        self.allowed: Tensor
        self.register_buffer("allowed", torch.tensor([True, *network.solved]), persistent=False)
        self.choosable = tuple(number for number, solvable in enumerate(network.solved, start=1) if solvable)

    def components(self) -> dict[str, Component]:
        shapes = self.network.state_shapes if self.agent.sees_activations else ()
        scalars = (scalar_features(len(self.network.layers)),)
        return self.network.components() | {"agent": Component(self.agent, (scalars, (self.agent.hidden,), *shapes))}

    # Inference

    def classify(self, images: Images, point: OperatingPoint, meter: Meter) -> Logits:
        state, actions = self._run(images, self._policy(images, point, meter), meter)
        for layer, residual in enumerate(state.residuals.unbind(dim=1), start=1):
            meter.note(f"residual{layer}", residual)
        for round_, action in enumerate(actions, start=1):
            meter.note(f"action{round_}", action)
        return state.logits

    def operating_points(self, validation: Iterable[tuple[Tensor, Tensor]]) -> list[OperatingPoint]:
        """A geometric grid of prices, from the highest down; no threshold needs choosing. Then the controls."""
        if not self.choosable:
            return [OperatingPoint(math.nan)]
        lowest, highest = self.prices
        steps = max(1, self.points - 1)
        own = [OperatingPoint(highest * (lowest / highest) ** (index / steps)) for index in range(self.points)]
        return own + self._controls(own, validation) if self.controls else own

    @torch.no_grad()
    def _controls(self, own: list[OperatingPoint], validation: Iterable[tuple[Tensor, Tensor]]) -> list[OperatingPoint]:
        sequences: dict[float, list[tuple[int, ...]]] = {point.knob: [] for point in own}
        logits: list[Tensor] = []
        for images, _ in validation:
            for point in own:
                meter = Meter(self.components(), len(images), images.device)
                _, actions = self._run(images, self._policy(images, point, meter), meter)
                sequences[point.knob] += [
                    tuple(layer for layer in taken if layer > 0) for taken in torch.stack(actions, dim=1).tolist()
                ]
            meter = Meter(self.components(), len(images), images.device)
            # After the last round nobody has to decide.
            always = policies.always(self.choosable, self.rounds - 1)
            self._run(images, always, meter, answered=lambda state: logits.append(state.logits.clone()))
        shuffled = {price: taken for price, taken in sequences.items() if taken}
        return control_points(self.choosable, self.rounds, self.points, shuffled, logits)

    @property
    def default_point(self) -> OperatingPoint:
        """Every round used: what the network can do, whoever decides."""
        return OperatingPoint(self.rounds, "always")

    def _policy(self, images: Tensor, point: OperatingPoint, meter: Meter) -> Policy:
        if not self.choosable:  # nothing to choose, nobody to ask
            return policies.always((0,), 0)
        if point.policy == "own":
            price = torch.full((len(images),), float(point.knob), device=images.device)
            return self._agent_policy(price, meter)
        return control_policy(point, images, self.choosable)

    def _agent_policy(self, price: Tensor, meter: Meter, generator: torch.Generator | None = None) -> AgentPolicy:
        agent = self.agent
        return AgentPolicy(self.allowed, price, self.rounds, agent.hidden, agent.sees_activations, meter, generator)

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
            images: [batch, *input shape].
            policy: who decides.
            meter: what executes.
            state: the inner state after the direct pass, if it is known.
            answered: called with the state after the direct pass (if `state` is None) and after every round.
            learning: whether the network's graph is kept, where gradients are enabled.
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
        self, images: Images, labels: Labels, meter: Meter, state: TrainingState
    ) -> tuple[Loss, dict[str, Tensor]]:
        if not self.choosable:  # a static network: nobody to teach
            return self._network_loss(images, labels, meter, state.generator)
        # What the agent learns from is the network as it will be used: BatchNorm with its running statistics.
        self.network.eval()
        bonus = ENTROPY_BONUS * (1 - state.progress)
        agent_loss, metrics = self._agent_loss(images, labels, meter, state.generator, bonus)
        self.network.train()
        network_loss, network_metrics = self._network_loss(images, labels, meter, state.generator)
        return agent_loss + network_loss, metrics | network_metrics

    def answer_loss(self, logits: Logits, labels: Labels) -> Loss:
        """The loss of one answer, for which the network is trained; override it to train for another."""
        return functional.cross_entropy(logits, labels)

    def _network_loss(
        self, images: Tensor, labels: Tensor, meter: Meter, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Random action sequences with a loss after every round, so that all paths are sound.

        A path that is no longer trained decays, and then no price leads down it again.
        """
        losses: list[Tensor] = []
        accuracies: list[Tensor] = []

        def answered(state: InnerState) -> None:
            losses.append(self.answer_loss(state.logits.float(), labels))
            accuracies.append(_correct(state.logits, labels).mean())

        policy = policies.uniform(self.allowed, generator) if self.choosable else policies.always((0,), 0)
        state, _ = self._run(images, policy, meter, answered=answered)
        loss = torch.stack(losses).mean()
        metrics = {"accuracy_direct": accuracies[0], "accuracy_last": accuracies[-1]}
        if self.jacobian_penalty and self.choosable:
            norms = [self.network.jacobian_norm(state, layer - 1, meter, generator) for layer in self.choosable]
            norm = torch.stack(norms).mean()
            loss = loss + self.jacobian_penalty * norm
            metrics["jacobian"] = norm.detach()
        return loss, metrics | _residual_metrics(state)

    def _agent_loss(
        self, images: Tensor, labels: Tensor, meter: Meter, generator: torch.Generator, entropy_bonus: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Sampled actions become likelier by the reward that they earned.  The network gets no gradient."""
        low, high = (math.log(price) for price in self.prices)
        uniform = torch.rand(len(images), generator=generator, device=images.device)
        price = (low + (high - low) * uniform).exp()
        costs = self.component_macs().to(images.device)
        with torch.no_grad():
            direct = self.network.direct(images, meter)
        direct_macs = meter.macs(costs)

        def reward(state: InnerState, policy: AgentPolicy, before: Tensor) -> Tensor:
            spent = (meter.macs(costs) - before) / direct_macs
            return self._worth(state.logits, labels) - price * spent - self.redundancy_penalty * policy.redundant

        with torch.no_grad():
            greedy = self._agent_policy(price, meter)
            state, _ = self._run(images, greedy, meter, direct.copy())
            baseline = reward(state, greedy, direct_macs)
        before = meter.macs(costs)
        policy = self._agent_policy(price, meter, generator)
        state, actions = self._run(images, policy, meter, direct, learning=False)
        earned = reward(state, policy, before)
        loss = -(self_critical(policy.log_probability, earned, baseline) + entropy_bonus * policy.entropy).mean()
        metrics = {
            "reward": earned.mean(),
            "reward_greedy": baseline.mean(),
            "action_entropy": policy.entropy.detach().sum() / policy.decisions.sum(),
            "accuracy_sampled": _correct(state.logits, labels).mean(),
        }
        taken = torch.stack(actions)
        decided = (taken >= 0).sum()
        for action in range(len(self.allowed)):
            metrics[f"choice{action}"] = (taken == action).sum() / decided
        return loss, metrics | _residual_metrics(state)

    def _worth(self, logits: Tensor, labels: Tensor) -> Tensor:
        """What each answer is worth, [batch], in [0, 1]."""
        if self.reward == "correct":
            return _correct(logits, labels)
        return logits.detach().float().softmax(dim=1).gather(1, labels[:, None]).squeeze(1)


def self_critical(
    log_probability: Float[Tensor, "batch"], reward: Float[Tensor, "batch"], baseline: Float[Tensor, "batch"]
) -> Float[Tensor, "batch"]:
    """REINFORCE (Williams 1992) with the reward of the greedy actions as baseline (Rennie 2017): [batch].

    To be maximised; its gradient means something, its value does not. Unbiased, since the greedy actions do not depend
    on those that were sampled.

    Args:
        log_probability: of the actions that were sampled, [batch], with the graph to the agent.
        reward: of those actions, [batch].
        baseline: the reward of the agent's best actions on the same sample, [batch].
    """
    return (reward - baseline).detach() * log_probability


def _correct(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits.detach().argmax(dim=1) == labels).float()


def _residual_metrics(state: InnerState) -> dict[str, Tensor]:
    """Each layer's residual (geometric mean) and the share of samples that end with it solved."""
    residuals = state.residuals.clamp_min(1e-6).log().mean(dim=0).exp()
    metrics = {f"residual{layer}": residual for layer, residual in enumerate(residuals, start=1)}
    converged = state.converged.float().mean(dim=0)
    return metrics | {f"converged{layer}": share for layer, share in enumerate(converged, start=1)}
