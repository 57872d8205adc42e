"""Workshop: what its agent learns, what a step of training touches, the controls, the reward, the options."""

import copy
import functools
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dynalay import (
    FPILayer,
    FPINetwork,
    IntrospectiveClassifier,
    Meter,
    OperatingPoint,
    TrainingState,
    Workshop,
    introspective,
)
from dynalay.agent import Agent
from dynalay.introspection import scalar_features
from dynalay.policies import AgentPolicy

SHAPE, CLASSES = (1, 6, 6), 3
#: Two layers.
SMALL: dict[str, Any] = {"channels": (4, 8), "strides": (1, 2), "fpi": (True, True)}


@functools.cache
def _built(**parameters) -> Workshop:
    torch.manual_seed(0)
    model = Workshop(SHAPE, CLASSES, **(SMALL | parameters))
    model.component_macs()  # counted once, and copied along
    return model


def build(**parameters) -> Workshop:
    return copy.deepcopy(_built(**parameters))


def batch(count: int = 12) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(count, *SHAPE, generator=generator), torch.arange(count) % CLASSES


def loss_of(model, progress=0.0, seed=0, data=None):
    images, labels = data or batch()
    meter = Meter(model.components(), len(images))
    state = TrainingState(progress, torch.Generator().manual_seed(seed))
    return *model.training_loss(images, labels, meter, state), meter


@torch.no_grad()
def classify(model, point, images=None):
    images = batch()[0] if images is None else images
    meter = Meter(model.components(), len(images))
    return model.classify(images, point, meter), meter


def undecided(model, spread=0.5, seed=5):
    """Gives the agent opinions, which an untrained one does not have."""
    with torch.no_grad():
        model.agent.choose.weight.normal_(0, spread, generator=torch.Generator().manual_seed(seed))
    return model


# Inference


@torch.inference_mode()
def test_a_layer_without_transition_receives_what_is_below_also_after_it_was_solved():
    network = build(channels=(4, 4), strides=(1, 0)).eval().network
    images = batch()[0]
    meter = Meter(network.components(), len(images))
    before = network.direct(images, meter)
    assert torch.equal(before.inputs[1], before.states[0])
    rows = torch.tensor([1, 4])
    after = network.re_evaluate(before.copy(), 0, rows, meter)
    assert torch.equal(after.inputs[1], after.states[0])
    moved = (after.states[0] != before.states[0]).flatten(1).any(dim=1)
    assert moved.nonzero().flatten().tolist() == rows.tolist()


def test_what_one_sample_becomes_without_transitions_does_not_depend_on_the_batch():
    model = undecided(build(channels=(4, 4), strides=(0, 0), rounds=3)).eval()
    images, point = batch()[0], OperatingPoint(0.01)
    together, meter = classify(model, point, images)
    costs = model.component_macs()
    for number, image in enumerate(images):
        alone, meter_alone = classify(model, point, image[None])
        torch.testing.assert_close(alone[0], together[number], rtol=1e-4, atol=1e-5)
        assert meter_alone.macs(costs)[0] == meter.macs(costs)[number]


def test_layers_that_are_no_fpi_layers_are_never_chosen():
    model = undecided(build(fpi=(False, True)), spread=5).eval()
    for point in model.operating_points([]):
        _, meter = classify(model, point)
        chosen = torch.cat([values for name, values in meter.notes.items() if name.startswith("action")])
        assert 1 not in chosen, point
    model.train()
    _, metrics, meter = loss_of(model)
    assert metrics["choice1"] == 0
    executions = dict(zip(meter.components, meter.executions.sum(dim=0).tolist(), strict=True))
    assert executions["layer1.cell"] == executions["layer1.transition"], "only where the stem ran"


def test_without_fpi_layers_it_is_a_static_network_that_asks_no_agent():
    model = build(fpi=(False, False)).eval()
    (point,) = model.operating_points([])
    assert math.isnan(point.knob)
    logits, meter = classify(model, point)
    executions = dict(zip(meter.components, meter.executions.T.tolist(), strict=True))
    assert set(executions.pop("agent")) == {0}
    assert all(set(counts) == {1} for counts in executions.values())
    torch.testing.assert_close(logits, classify(model, model.default_point)[0])
    loss_of(model)[0].backward()


@pytest.mark.parametrize("rounds", [0, 1, 3])
def test_the_controls_never_and_always_do_what_they_say(rounds):
    model = build(rounds=3).eval()
    _, meter = classify(model, OperatingPoint(rounds, "always" if rounds else "never"))
    heads = meter.executions[:, list(meter.components).index("head")]
    agents = meter.executions[:, list(meter.components).index("agent")]
    assert heads.tolist() == [1 + rounds] * 12
    assert agents.tolist() == [0] * 12
    actions = torch.stack([meter.notes[f"action{round_}"] for round_ in (1, 2, 3)])
    assert (actions > 0).sum(dim=0).tolist() == [rounds] * 12


def test_an_answer_ends_the_work_on_a_sample():
    model = undecided(build(rounds=3), spread=2).eval()
    _, meter = classify(model, OperatingPoint(0.1))
    actions = torch.stack([meter.notes[f"action{round_}"] for round_ in (1, 2, 3)])
    asked = (actions >= 0).sum(dim=0)
    assert torch.equal(meter.executions[:, list(meter.components).index("agent")].long(), asked)
    assert torch.equal(meter.executions[:, list(meter.components).index("head")].long(), 1 + (actions > 0).sum(dim=0))
    for sample in actions.T.tolist():
        ended = [action <= 0 for action in sample]
        assert ended == sorted(ended), "once it has answered nothing more happens"


# What the agent learns from


def rounds_of(model, images, labels, price, generator):
    """Sampled actions on a trained network, with what a gradient needs; the reward by its formula."""
    meter = Meter(model.components(), len(images))
    with torch.no_grad():
        direct = model.network.direct(images, meter)
    start = meter.macs(model.component_macs())
    policy = AgentPolicy(model.allowed, price, model.rounds, model.agent.hidden, True, meter, generator)
    state, actions = model._run(images, policy, meter, direct, learning=False)
    spent = (meter.macs(model.component_macs()) - start) / start
    worth = state.logits.softmax(dim=1)[torch.arange(len(images)), labels]
    return policy, torch.stack(actions, dim=1), worth - price * spent - model.redundancy_penalty * policy.redundant


def test_the_gradient_of_reinforce_is_that_of_the_expected_reward(monkeypatch):
    """One sample many times over: its action sequences are all drawn, so their expectation can be enumerated."""
    count, price = 6000, 0.05
    model = undecided(build(rounds=2)).eval()
    model.prices = (price, price)
    monkeypatch.setattr(introspective, "ENTROPY_BONUS", 0.0)
    model.redundancy_penalty = 0.3
    with torch.no_grad():  # so that answers differ from round to round
        for name, parameter in model.network.named_parameters():
            if name.endswith("gain"):
                parameter.fill_(1.0)
    images = torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(0)).expand(count, -1, -1, -1)
    labels = torch.ones(count, dtype=torch.int64)
    weight = model.agent.choose.weight

    policy, actions, reward = rounds_of(
        model, images, labels, torch.full((count,), price), torch.Generator().manual_seed(1)
    )
    _, first = torch.unique(actions, dim=0, return_inverse=True)
    examples = [int((first == kind).nonzero()[0]) for kind in range(int(first.max()) + 1)]
    probability = policy.log_probability[examples].exp()
    assert probability.sum().item() == pytest.approx(1, rel=1e-4), "every sequence was drawn"
    assert len(examples) == 7
    assert reward[examples].std() > 0.02
    (exact,) = torch.autograd.grad((probability * reward[examples]).sum(), weight)

    # The estimator, on as many draws: one loss for all, which is the mean of the samples' own.
    loss, metrics, _ = loss_of(model, data=(images, labels), seed=2)
    (found,) = torch.autograd.grad(-loss, weight)
    torch.testing.assert_close(
        metrics["reward"].item(), (probability * reward[examples]).sum().item(), rtol=0, atol=0.01
    )
    assert torch.cosine_similarity(found.flatten(), exact.flatten(), dim=0) > 0.97
    assert (found.norm() / exact.norm() - 1).abs() < 0.15


def test_the_rewards_of_greedy_and_sampled_actions_follow_the_formula():
    model = build(rounds=2, tolerance=10.0, redundancy_penalty=0.5).eval()
    model.prices = (0.2, 0.2)
    with torch.no_grad():  # always layer 1: solved at once, so that the second choice is redundant
        model.agent.choose.bias.copy_(torch.tensor([-99.0, 99.0, -99.0]))
    _, labels = batch()
    logits, meter = classify(model, OperatingPoint(0.2))
    direct = classify(model, OperatingPoint(0, "never"))[1].macs(model.component_macs())
    spent = (meter.macs(model.component_macs()) - direct) / direct
    worth = logits.softmax(dim=1)[torch.arange(12), labels]
    expected = (worth - 0.2 * spent - 0.5).mean()
    correct = (logits.argmax(dim=1) == labels).float()
    other = copy.deepcopy(model)
    _, metrics, _ = loss_of(model)
    torch.testing.assert_close(metrics["reward"], expected)
    torch.testing.assert_close(metrics["reward_greedy"], expected)
    other.reward = "correct"
    _, metrics, _ = loss_of(other)
    torch.testing.assert_close(metrics["reward"], (correct - 0.2 * spent - 0.5).mean())


class Delayed(nn.Module):
    """Of inputs (hard, sign): the first evaluation knows the sign of easy ones, the second that of all."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.remember = nn.Linear(width, width, bias=False)  # the work that costs
        nn.init.eye_(self.remember.weight)

    def forward(self, z: Tensor, u: Tensor) -> Tensor:
        half = u.shape[1] // 2
        hard, sign = u[:, :half], u[:, half:]
        remembered = z[:, half:]
        return self.remember(torch.cat([torch.where(hard > 0, remembered, sign), sign], dim=1))


def delayed_model() -> IntrospectiveClassifier:
    """A network that is right on easy inputs at once, and on hard ones after one re-evaluation."""
    width = 64
    head = nn.Linear(width, 2, bias=False)
    with torch.no_grad():
        head.weight.zero_()
        head.weight[:, 0] = torch.tensor([-4.0, 4.0])
    layer = FPILayer(Delayed(width), max_iterations=2, relative_tolerance=0.0)
    network = FPINetwork(nn.Identity(), [nn.Identity()], [layer], head, (width,))
    torch.manual_seed(0)
    model = IntrospectiveClassifier(network, 2, rounds=2, sees_activations=False)
    model.prices = (0.01, 1.0)
    # As its compute is counted, it must be small beside so small a network.
    model.agent = Agent([width], scalar_features(1), hidden=8, sees_activations=False)
    return model


def delayed_inputs(count: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    hard = torch.rand(count, 1, generator=generator) < 0.5
    labels = torch.randint(0, 2, (count,), generator=generator)
    sign = 2 * labels[:, None] - 1
    return torch.cat([hard.float().expand(-1, 32), sign.float().expand(-1, 32)], dim=1), labels, hard.squeeze(1)


def test_an_agent_learns_to_spend_on_hard_samples_and_only_while_compute_is_cheap():
    model = delayed_model()
    model.component_macs()
    optimizer = torch.optim.Adam(model.agent.parameters(), lr=0.02)
    generator = torch.Generator().manual_seed(0)
    steps = 200
    for step in range(steps):
        inputs, labels, _ = delayed_inputs(128, seed=step)
        meter = Meter(model.components(), 128)
        loss, _ = model.training_loss(inputs, labels, meter, TrainingState(step / steps, generator))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    inputs, labels, hard = delayed_inputs(200, seed=999)
    spent, accuracy = {}, {}
    for price in (0.01, 0.1, 1.0):
        logits, meter = classify(model, OperatingPoint(price), inputs)
        evaluations = meter.executions[:, list(meter.components).index("layer1.cell")].float()
        spent[price] = (evaluations[~hard].mean().item(), evaluations[hard].mean().item())
        accuracy[price] = (logits.argmax(dim=1) == labels).float().mean().item()
    # A re-evaluation of two iterations costs about two direct passes and turns a probability of 0.5 into 1: it pays up
    # to a price of about 0.24.
    for price in (0.01, 0.1):
        easy, difficult = spent[price]
        assert difficult > 2.9, "the hard ones are evaluated again"
        assert easy < 1.1, "the easy ones are not"
        assert accuracy[price] > 0.99
    assert max(spent[1.0]) < 1.1, "what costs more than it can bring is not bought"


# Training


def snapshot(model, part):
    return {name: value.clone() for name, value in getattr(model, part).state_dict().items()}


def step(model, progress=0.3):
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1)
    loss, _, _ = loss_of(undecided(model).train(), progress)
    before = snapshot(model, "network"), snapshot(model, "agent")
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    parameters = dict(model.named_parameters())
    changed = {
        part: [
            name
            for name, value in old.items()
            if not torch.equal(value, getattr(model, part).state_dict()[name]) and f"{part}.{name}" in parameters
        ]
        for part, old in zip(("network", "agent"), before, strict=True)
    }
    sizes = {part: len(list(getattr(model, part).parameters())) for part in changed}
    return changed, sizes


def statistics(model):
    return {name: value.clone() for name, value in model.network.named_buffers() if "running" in name}


def test_network_and_agent_learn_together_in_every_step():
    model = build().train()
    before = statistics(model)
    changed, sizes = step(model)
    assert len(changed["network"]) == sizes["network"]
    assert len(changed["agent"]) > sizes["agent"] // 2
    assert all(not torch.equal(value, statistics(model)[name]) for name, value in before.items())


def test_the_agents_passes_leave_the_statistics_of_batch_norm_alone():
    """They are those of the direct passes of the network's own loss, however often the agent runs it."""
    model = build().train()
    loss_of(model)
    counts = {int(value) for name, value in model.named_buffers() if name.endswith("num_batches_tracked")}
    assert counts == {1}


def test_the_entropy_bonus_falls_to_nothing(monkeypatch):
    losses = []
    for bonus, progress in ((0.0, 0.0), (1.0, 0.0), (1.0, 0.5), (1.0, 1.0)):
        monkeypatch.setattr(introspective, "ENTROPY_BONUS", bonus)
        loss, metrics, _ = loss_of(build().eval(), progress)
        losses.append(loss.item())
    assert metrics["action_entropy"].item() == pytest.approx(math.log(3), rel=1e-5), "undecided between three actions"
    bonuses = [losses[0] - loss for loss in losses[1:]]
    assert bonuses[0] > 0.5
    assert bonuses[1] == pytest.approx(bonuses[0] / 2, rel=1e-4)
    assert bonuses[2] == pytest.approx(0, abs=1e-6)


def test_a_jacobian_penalty_is_added_to_the_loss():
    plain, _, _ = loss_of(build().eval())
    penalised, metrics, _ = loss_of(build(jacobian_penalty=2.0).eval())
    assert metrics["jacobian"] > 0
    torch.testing.assert_close(penalised - plain, 2.0 * metrics["jacobian"])


# Options


@torch.no_grad()
def test_a_bounded_gain_makes_cells_contract():
    torch.manual_seed(0)
    for bound, contracts in ((0.7, True), (None, False)):
        model = build(cell="residual", gain_bound=bound)
        cell: Any = model.network.layers[0].cell
        for parameter in cell.parameters():
            parameter.mul_(20)
        cell.gain.fill_(1.0)
        a, b, u = torch.randn(3, 16, 4, 6, 6)
        moved = (cell(a, u) - cell(b, u)).abs().flatten(1).amax(dim=1)
        assert bool((moved <= 0.7**2 * (a - b).abs().flatten(1).amax(dim=1)).all()) == contracts


@pytest.mark.parametrize("solver", ["picard", "anderson", "broyden"])
@pytest.mark.parametrize("gradient", ["implicit", "phantom", "unrolled"])
def test_every_solver_trains_with_every_gradient(solver, gradient):
    model = build(solver=solver, gradient=gradient, channels=(4,), strides=(1,), fpi=(True,), rounds=2).train()
    loss_of(model)[0].backward()
    for name, parameter in model.network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"channels": (4, 8), "strides": (1,)}, "one entry per layer"),
        (
            {"channels": (4, 8), "strides": (0, 0), "fpi": (True, True)},
            "layer 2 has 8 channels and receives 4, so it needs a transition",
        ),
        ({"cell": "standardised", "gain_bound": 0.5}, "is for cell='residual'"),
    ],
)
def test_options_that_do_not_go_together_are_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        Workshop(SHAPE, CLASSES, **parameters)


def test_an_agent_may_be_shown_less():
    sizes = []
    for sees_activations in (True, False):
        model = build(sees_activations=sees_activations)
        assert isinstance(model.agent, Agent)
        sizes.append(model.component_macs()[list(model.components()).index("agent")].item())
        _, meter = classify(model.eval(), OperatingPoint(0.1))
        assert meter.executions[:, list(meter.components).index("agent")].min() >= 1
    assert sizes[1] < sizes[0]
