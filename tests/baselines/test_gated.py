"""What gated residual networks share, and the mathematics of SkipNet, ConvNet-AIG and BlockDrop."""

import itertools
from typing import Any

import pytest
import torch
from torch.nn import functional

from baselines.blockdrop import ALPHA, BlockDrop, bounded, reward
from baselines.convnet_aig import ConvNetAIG, rate_loss, sampled_gate
from baselines.gated import straight_through
from baselines.resnet import ResNet
from baselines.skipnet import SkipNet, hybrid_returns
from dynalay.classifier import OperatingPoint, TrainingState
from dynalay.meter import Meter

SHAPE, CLASSES = (2, 12, 12), 3
GATED = (SkipNet, ConvNetAIG, BlockDrop)


def _network(method: Any, depth: int = 14) -> Any:
    torch.manual_seed(0)
    model = method(SHAPE, CLASSES, depth=depth, channels=(8, 8, 16))
    for module in model.modules():
        if isinstance(
            module, torch.nn.BatchNorm2d
        ):  # the last norm of a block starts at zero: nothing would be skipped
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
    return model.eval()


@pytest.mark.parametrize("method", GATED)
def test_skipping_a_branch_is_weighting_it_with_zero(method):
    """What inference leaves out is what training multiplies by a closed gate."""
    model, images = _network(method), torch.randn(7, *SHAPE)
    open_ = torch.rand(model.blocks, 7, generator=torch.Generator().manual_seed(1)) > 0.5
    meter = Meter(model.components(), 7)
    with torch.no_grad():
        skipped = weighted = meter("stem", images)
        for k in range(model.blocks):
            skipped = model.run_block(k, skipped, open_[k].nonzero().squeeze(1), meter)
            weighted = model.train_block(k, weighted, open_[k].float(), meter)
    torch.testing.assert_close(skipped, weighted)


@pytest.mark.parametrize("method", GATED)
def test_with_all_gates_open_it_is_the_residual_network(method):
    model, images = _network(method), torch.randn(5, *SHAPE)
    plain = ResNet(SHAPE, CLASSES, depth=14, channels=(8, 8, 16)).eval()
    renamed = {"conv1": "stem.0", "bn1": "stem.1", "fc": "head.1"}
    for name, parameter in [*plain.network.named_parameters(), *plain.network.named_buffers()]:
        part, _, rest = name.partition(".")
        if part in renamed:
            source = f"{renamed[part]}.{rest}"
        else:  # layer<stage>.<unit>.<module>...
            unit, module, *last = rest.split(".")
            k = 2 * (int(part.removeprefix("layer")) - 1) + int(unit)
            place = {"conv1": "0", "bn1": "1", "conv2": "3", "bn2": "4"}
            inner = f"branches.{k}.{place[module]}" if module in place else f"shortcuts.{k}"
            source = ".".join([inner, *last])
        parameter.data.copy_(model.state_dict()[source])
    with torch.no_grad():
        logits = model.classify(images, OperatingPoint(0.0), Meter(model.components(), 5))
        expected = plain.network(images)
    torch.testing.assert_close(logits, expected)


@pytest.mark.parametrize("method", GATED)
def test_threshold_one_closes_every_gate_that_there_is(method):
    model = _network(method)
    meter = Meter(model.components(), 3)
    with torch.no_grad():
        model.classify(torch.randn(3, *SHAPE), OperatingPoint(1.0), meter)
    executed = dict(zip(meter.components, meter.executions.sum(dim=0).tolist(), strict=True))
    assert [executed[f"block{k + 1}.branch"] for k in range(model.blocks)] == [0] * model.blocks


def test_straight_through_is_hard_forwards_and_soft_backwards():
    probability = torch.tensor([0.2, 0.8], requires_grad=True)
    gate = straight_through(probability, (probability > 0.5).float())
    assert gate.tolist() == [0.0, 1.0]
    (gate * torch.tensor([3.0, 5.0])).sum().backward()
    assert probability.grad is not None
    assert probability.grad.tolist() == [3.0, 5.0]


def test_skipnet_estimates_the_gradient_of_its_objective():
    """Over all decisions of three gates: the mean of the estimator is the gradient of E[L - alpha / N sum R]."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, generator=generator, dtype=torch.float64)
    decisions = torch.tensor(list(itertools.product((0.0, 1.0), repeat=3)), dtype=torch.float64)  # [8, gates]
    losses, alpha = torch.rand(8, generator=generator, dtype=torch.float64), 0.7

    def likelihood(logits: torch.Tensor) -> torch.Tensor:
        p = logits.sigmoid()
        return (decisions * p + (1 - decisions) * (1 - p)).prod(dim=1)

    objective = losses - alpha / 3 * (1 - decisions).sum(dim=1)
    exact = torch.func.grad(lambda z: (likelihood(z) * objective).sum())(logits)

    returns = hybrid_returns(losses, decisions.T, alpha)  # [gates, 8]
    weight = likelihood(logits)

    def surrogate(logits: torch.Tensor) -> torch.Tensor:
        log_p = -functional.binary_cross_entropy_with_logits(logits.expand(8, 3), decisions, reduction="none").T
        return (weight * (log_p * returns).sum(dim=0)).sum()

    torch.testing.assert_close(torch.func.grad(surrogate)(logits), exact)


def test_skipnet_charges_a_gate_with_what_follows_it():
    executed = torch.tensor([[1.0], [0.0], [1.0], [0.0]])  # one sample, four blocks
    assert hybrid_returns(torch.tensor([2.0]), executed, alpha=0.4).flatten().tolist() == pytest.approx(
        [2 - 0.2, 2 - 0.2, 2 - 0.1, 2 - 0.1]
    )


def test_skipnets_gates_share_one_memory():
    model = _network(SkipNet)
    meter = Meter(model.components(), 2)
    with torch.no_grad():
        model.classify(torch.randn(2, *SHAPE), model.default_point, meter)
    assert meter.executions[:, list(meter.components).index("gate")].tolist() == [model.blocks - 1] * 2


def test_a_sampled_gate_opens_as_often_as_its_softmax_says_and_passes_its_gradient():
    scores = torch.tensor([[0.3, 1.0]]).repeat(20_000, 1).requires_grad_()
    gates = sampled_gate(scores, torch.Generator().manual_seed(0))
    assert set(gates.detach().unique().tolist()) == {0.0, 1.0}
    assert gates.mean().item() == pytest.approx(torch.tensor([0.3, 1.0]).softmax(dim=0)[1].item(), abs=0.01)
    gates.sum().backward()
    assert scores.grad is not None
    torch.testing.assert_close(scores.grad[:, 0], -scores.grad[:, 1])  # a softmax depends on the difference alone
    assert (scores.grad[:, 1] > 0).all()


def test_the_rate_loss_is_the_squared_distance_of_each_blocks_rate():
    gates = torch.tensor([[1.0, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]])
    assert rate_loss(gates, 0.7).item() == pytest.approx((0.3**2 + 0.2**2 + 0.7**2) / 3)


def test_gates_of_convnet_aig_start_mostly_open():
    model = ConvNetAIG((3, 32, 32), 10).eval()
    gates = model.gates(torch.empty(0), meter := Meter(model.components(), 16))
    with torch.no_grad():
        probability = gates(0, meter("stem", torch.randn(16, 3, 32, 32)))
    assert probability.mean().item() == pytest.approx(0.87, abs=0.02)


@pytest.mark.parametrize("method", [SkipNet, ConvNetAIG])
def test_gates_that_learn_with_the_backbone_start_open(method):
    """Branches start from zero: a closed gate would have no gradient, and so its branch would never be used."""
    shares = []
    for seed in range(5):
        torch.manual_seed(seed)
        model = method(SHAPE, CLASSES, depth=20, channels=(8, 8, 16)).train()
        state = TrainingState(0.0, torch.Generator().manual_seed(0), model.phases[0].name)
        images, labels = torch.randn(16, *SHAPE), torch.arange(16) % CLASSES
        logs = model.training_loss(images, labels, Meter(model.components(), 16), state)[1]
        shares.append(logs["executed"].item())
    assert min(shares) > 0.7


def test_blockdrops_reward_and_bounds():
    executed = torch.tensor([[1.0, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]])
    correct = torch.tensor([True, True, False])
    assert reward(correct, executed, gamma=5.0).tolist() == [0.75, 0.0, -5.0]
    assert bounded(torch.tensor([0.0, 0.5, 1.0])).tolist() == pytest.approx([1 - ALPHA, 0.5, ALPHA])


def test_blockdrop_explores_however_sure_it_is():
    model = _network(BlockDrop).train()
    images, labels = torch.randn(8, *SHAPE), torch.zeros(8, dtype=torch.int64)
    with torch.no_grad():
        for parameter in model.policy.fc.parameters():
            parameter.zero_()
        model.policy.fc.bias.fill_(30.0)  # so sure that only the bound makes it sample anything else
    state = TrainingState(0.999, torch.Generator().manual_seed(0), "curriculum")
    logs = model.training_loss(images, labels, Meter(model.components(), 8), state)[1]
    assert logs["executed"].item() == pytest.approx(ALPHA, abs=0.12)
    assert -1 <= logs["reward_greedy"].item() <= 0  # executing everything earns 0 where right, else -gamma


def test_blockdrops_curriculum_decides_on_the_last_blocks_first():
    model = _network(BlockDrop, depth=20).train()
    images, labels = torch.randn(64, *SHAPE), torch.zeros(64, dtype=torch.int64)
    shares = []
    for progress in (0.0, 0.5, 0.99):
        state = TrainingState(progress, torch.Generator().manual_seed(0), "curriculum")
        shares.append(model.training_loss(images, labels, Meter(model.components(), 64), state)[1]["executed"].item())
    assert shares[0] > 1 - 1 / model.blocks - 1e-6
    assert shares[0] > shares[1] > shares[2]


def test_blockdrops_penalty_of_wrong_answers_is_one_until_the_backbone_learns_too():
    model = _network(BlockDrop).train()
    with torch.no_grad():
        model.head[-1].bias[2] = -1e9  # class 2 is never the answer
    images, labels = torch.randn(8, *SHAPE), torch.full((8,), 2)
    earned = {}
    for phase in ("curriculum", "joint"):
        state = TrainingState(0.5, torch.Generator().manual_seed(0), phase)
        earned[phase] = model.training_loss(images, labels, Meter(model.components(), 8), state)[1]["reward"].item()
    assert earned == {"curriculum": -1.0, "joint": -model.gamma}
    assert model.gamma > 1
