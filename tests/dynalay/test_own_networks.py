"""Networks that nobody here wrote, with an agent: states of tokens, a pooling and a loss of their own, no meter."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from dynalay import FPILayer, FPINetwork, IntrospectiveClassifier, Meter, TrainingState

TOKENS, CHANNELS, CLASSES = 6, 8, 3


class Attend(nn.Module):
    """A cell over tokens: an attention block."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(CHANNELS, 2, batch_first=True)
        self.norm = nn.LayerNorm(CHANNELS)

    def forward(self, z: Tensor, u: Tensor) -> Tensor:
        mixed = self.norm(z + u)
        return u + 0.5 * self.attention(mixed, mixed, mixed, need_weights=False)[0]


class Head(nn.Module):
    """Pools by the maximum over tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(CHANNELS, CLASSES)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.linear(tokens.amax(dim=1))


class Smoothed(IntrospectiveClassifier):
    """Trains with a loss of its own."""

    def answer_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(logits, labels, label_smoothing=0.3)


def network() -> FPINetwork:
    torch.manual_seed(0)
    layers = [FPILayer(Attend(), max_iterations=2) for _ in range(2)]
    return FPINetwork(nn.Linear(4, CHANNELS), [nn.Identity()] * 2, layers, Head(), input_shape=(TOKENS, 4))


def loss_of(model: IntrospectiveClassifier, tokens: Tensor, labels: Tensor) -> Tensor:
    meter = Meter(model.components(), len(tokens))
    state = TrainingState(0.0, torch.Generator().manual_seed(0), model.phases[0].name)
    return model.training_loss(tokens, labels, meter, state)[0]


def test_a_network_of_tokens_learns_and_is_counted():
    model = IntrospectiveClassifier(network(), CLASSES, rounds=2)
    tokens, labels = torch.randn(16, TOKENS, 4), torch.arange(16) % CLASSES
    loss_of(model, tokens, labels).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    prediction = model.predict(tokens, price=0.01)
    assert prediction.logits.shape == (16, CLASSES)
    # stem, twice [four projections of each token, two products of all pairs of tokens, a norm], head, as fvcore counts
    costs = dict(zip(model.components(), model.component_macs().tolist(), strict=True))
    assert costs["stem"] == TOKENS * 4 * CHANNELS
    products = 4 * TOKENS * CHANNELS**2 + 2 * TOKENS**2 * CHANNELS
    assert products <= costs["layer1.cell"] <= 1.2 * products
    least = costs["stem"] + costs["layer1.cell"] + costs["layer2.cell"] + costs["head"] + costs["agent"]
    assert int(prediction.macs.min()) >= least


def test_the_loss_is_ones_own():
    tokens, labels = torch.randn(16, TOKENS, 4), torch.arange(16) % CLASSES
    plain, smoothed = (
        loss_of(kind(network(), CLASSES, rounds=1), tokens, labels) for kind in (IntrospectiveClassifier, Smoothed)
    )
    assert abs(plain - smoothed) > 1e-4


def test_the_network_runs_without_a_meter():
    parts, tokens = network().eval(), torch.randn(5, TOKENS, 4)
    rows = torch.tensor([1, 3])
    with torch.no_grad():
        plain = parts.re_evaluate(parts.direct(tokens), 0, rows)
        meter = Meter(parts.components(), 5)
        metered = parts.re_evaluate(parts.direct(tokens, meter), 0, rows, meter)
    assert torch.equal(plain.logits, metered.logits)
    assert int(meter.executions.sum()) > 0
