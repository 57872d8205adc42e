"""What networks that take steps share, and the mathematics of PonderNet and of learned halting."""

from typing import Any

import pytest
import torch
from torch.distributions import Categorical, Geometric, kl_divergence

from baselines.pondernet import PonderNet, halting_distribution
from baselines.recursive import Recursive, advantage_of_halting, continue_targets
from baselines.stepping import change
from dynalay.classifier import OperatingPoint, TrainingState
from dynalay.meter import Meter

SHAPE, CLASSES = (2, 12, 12), 3


def _network(method: Any, **parameters: Any) -> Any:
    torch.manual_seed(0)
    return method(SHAPE, CLASSES, channels=(6, 8), strides=(1, 2), steps=4, **parameters).eval()


NETWORKS = {
    "pondernet": lambda: _network(PonderNet),
    "q": lambda: _network(Recursive, latent_updates=2),
    "correctness": lambda: _network(Recursive, halting="correctness"),
}
every_network = pytest.mark.parametrize("name", NETWORKS)


@every_network
@pytest.mark.parametrize("rule", ["own", "max_probability", "converged", "always"])
def test_a_sample_gets_the_answer_of_the_step_at_which_the_rule_is_first_met(name, rule):
    model, images = NETWORKS[name](), torch.randn(16, *SHAPE)
    with torch.no_grad():
        meter = Meter(model.components(), 16)
        states, scores = model.all_steps(images, meter)
        answers = torch.stack([model.head(state[0]) for state in states])
        before = [torch.zeros_like(states[0][0]), *(state[0] for state in states[:-1])]
        met = {
            "own": torch.stack(scores),
            "max_probability": answers.softmax(dim=2).amax(dim=2),
            "converged": -torch.stack([change(b, s[0]) for b, s in zip(before, states, strict=True)]),
        }
        knob = met[rule][1:3].median().item() if rule in met else 2
        taken = [
            next(n for n in range(4) if n == 3 or (met[rule][n, i] >= knob if rule in met else n + 1 >= knob))
            for i in range(16)
        ]
        point = OperatingPoint(-knob if rule == "converged" else knob, rule)
        meter = Meter(model.components(), 16)
        logits = model.classify(images, point, meter)
    torch.testing.assert_close(logits, torch.stack([answers[n, i] for i, n in enumerate(taken)]))
    updates = (model.latent_updates + 1) if isinstance(model, Recursive) else 1
    executed = dict(zip(meter.components, meter.executions.T.tolist(), strict=True))
    assert executed["cell"] == [updates * (n + 1) for n in taken]
    assert executed["head"] == ([n + 1 for n in taken] if rule == "max_probability" else [1] * 16)


@every_network
def test_each_rule_spends_more_from_one_of_its_points_to_the_next(name):
    model, images = NETWORKS[name](), torch.randn(40, *SHAPE)
    spent: dict[str, list[float]] = {}
    with torch.no_grad():
        for point in model.operating_points([(images, torch.zeros(40))]):
            meter = Meter(model.components(), 40)
            model.classify(images, point, meter)
            spent.setdefault(point.policy, []).append(meter.macs(model.component_macs()).float().mean().item())
    assert set(spent) == {"own", "max_probability", "converged", "always"}
    assert all(macs == sorted(macs) for macs in spent.values())


@every_network
def test_a_batch_of_no_samples_gets_no_answers(name):
    model, images = NETWORKS[name](), torch.randn(8, *SHAPE)
    with torch.no_grad():
        points = model.operating_points([(images, torch.zeros(8))])
        together = [logits for logits, _ in model.classify_at(images[:0], points)]
        alone = [model.classify(images[:0], point, Meter(model.components(), 0)) for point in points]
    assert all(logits.shape == (0, CLASSES) for logits in together + alone)


def test_pondernets_halting_distribution_is_that_of_its_conditional_probabilities():
    lambdas = torch.rand(5, 7, generator=torch.Generator().manual_seed(0))
    going_on = (1 - lambdas).log().cumsum(dim=0)
    p = halting_distribution(going_on).exp()
    for n in range(4):
        torch.testing.assert_close(p[n], lambdas[n] * (1 - lambdas[:n]).prod(dim=0))
    torch.testing.assert_close(p[4], (1 - lambdas[:4]).prod(dim=0))  # the last step takes what is left
    torch.testing.assert_close(p.sum(dim=0), torch.ones(7))


@pytest.mark.parametrize("logit", [-80.0, 80.0])
def test_a_sure_halting_unit_gives_finite_gradients(logit):
    logits = torch.full((4, 3), logit, requires_grad=True)
    log_p = halting_distribution(torch.nn.functional.logsigmoid(-logits).cumsum(dim=0))
    (log_p.exp() * log_p).sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_pondernets_divergence_and_loss_are_those_of_the_paper():
    model = _network(PonderNet, prior=0.3, beta=0.5)
    images, labels = torch.randn(8, *SHAPE), torch.arange(8) % CLASSES
    with torch.no_grad():
        loss, logs = model.training_loss(
            images, labels, Meter(model.components(), 8), TrainingState(0.0, torch.Generator())
        )
        states, _ = model.all_steps(images, Meter(model.components(), 8))
        p = halting_distribution(torch.stack([state[1] for state in states])).exp().T  # [batch, steps]
        prior = Geometric(probs=torch.tensor(0.3)).log_prob(torch.arange(4.0))
        divergence = kl_divergence(Categorical(probs=p), Categorical(logits=prior)).mean()
        each = torch.stack(
            [-model.head(state[0]).log_softmax(dim=1)[torch.arange(8), labels] for state in states], dim=1
        )
    assert logs["divergence"].item() == pytest.approx(divergence.item(), rel=1e-4)
    assert loss.item() == pytest.approx((p * each).sum(dim=1).mean().item() + 0.5 * divergence.item(), rel=1e-4)


def test_what_continuing_is_worth_on_hand_worked_episodes():
    """Three steps; logits whose sigmoids are 0.25, 0.5 and 0.75."""
    low, half, high = -1.0986123, 0.0, 1.0986123
    episodes = torch.tensor(
        [
            [[low, half], [half, high], [low, high]],  # continuing pays after the second step; the last one must halt
            [[high, low], [high, low], [half, low]],
        ]
    ).transpose(0, 1)  # [steps, batch, 2]
    targets = continue_targets(episodes)
    assert targets.T.tolist() == [pytest.approx([0.75, 0.25]), pytest.approx([0.75, 0.5])]


@pytest.mark.parametrize("name", ["q", "correctness"])
def test_learned_halting_starts_from_an_answer_by_chance_and_leaves_the_features_alone(name):
    """Its loss is as large as that of the answers: from random weights, it would be what the features learn first."""
    model, images = NETWORKS[name](), torch.randn(6, *SHAPE)
    states, _ = model.all_steps(images, Meter(model.components(), 6))
    values = model.halting(states[0][0])
    torch.testing.assert_close(values.sigmoid(), torch.full_like(values, 1 / CLASSES))
    (gradient,) = torch.autograd.grad(values.sum(), states[0][0])
    assert not gradient.any()


def test_halting_is_compared_with_continuing_by_values_not_by_logits():
    """An answer that is nearly sure gains less from one more step than a doubtful one, however far apart the logits."""
    sure, doubtful = advantage_of_halting(torch.tensor([[6.0, 8.0], [0.0, 0.5]])).tolist()
    assert doubtful < sure < 0
    assert advantage_of_halting(torch.tensor([[0.2, 0.1]])).item() > 0


def test_states_are_detached_between_steps():
    """Deep supervision: the loss of the last step reaches the network through that step alone."""
    model = NETWORKS["q"]().train()
    images, labels = torch.randn(4, *SHAPE), torch.arange(4) % CLASSES
    calls: list[torch.Tensor] = []
    handle = model.cell.register_forward_hook(lambda module, inputs, output: calls.append(inputs[0]))
    model.training_loss(images, labels, Meter(model.components(), 4), TrainingState(0.0, torch.Generator()))
    handle.remove()
    first_of_each_step = calls[:: model.latent_updates + 1]
    assert all(not z.requires_grad for z in first_of_each_step)
