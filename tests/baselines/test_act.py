import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from baselines.act import ACT, halt
from baselines.resnet import ResNet
from dynalay.classifier import OperatingPoint, TrainingState
from dynalay.meter import Meter

SHAPE = (2, 9, 9)


def _model(seed: int = 0, halting_bias: float = -0.5, **parameters) -> ACT:
    torch.manual_seed(seed)
    model = ACT(SHAPE, 4, depth=26, channels=(4, 6, 8), halting_bias=halting_bias, **parameters).eval()
    for name, parameter in model.named_parameters():  # as if trained: units that do something
        if name.endswith("bn2.weight"):
            torch.nn.init.constant_(parameter, 0.5)
    return model


def _images(count: int, seed: int = 1) -> Tensor:
    """Of different contrast, since the gates see no more than means."""
    noise = torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(seed))
    return torch.linspace(0, 4, count)[:, None, None, None] * noise


def _meter(model: ACT, samples: int) -> Meter:
    return Meter(model.components(), samples)


def _scalar_halting(scores: list[float], threshold: float) -> tuple[list[float], int, float]:
    """Equations 5 to 9 of Graves (2016), one number at a time."""
    weights, total = [0.0] * len(scores), 0.0
    for n, score in enumerate(scores):
        if n == len(scores) - 1 or total + score >= threshold:
            weights[n] = 1 - total
            return weights, n + 1, n + 1 + 1 - total
        weights[n] = score
        total += score
    raise AssertionError


@given(
    st.lists(st.integers(0, 64), min_size=0, max_size=6),
    st.sampled_from([0.0, 0.25, 0.5, 0.984375, 1.0]),
)
def test_halting_follows_the_paper(sixty_fourths, threshold):
    # Multiples of 1/64 add without rounding, so that sums meet the threshold exactly.
    scores = [count / 64 for count in sixty_fourths] + [1.0]
    weights, units, ponder_cost = _scalar_halting(scores, threshold)
    halting = halt(torch.tensor([scores]), threshold)
    assert halting.weights.tolist() == [weights]
    assert halting.units.tolist() == [units]
    assert halting.ponder_cost.tolist() == [ponder_cost]
    assert sum(weights) == 1


def test_by_hand():
    halting = halt(torch.tensor([[0.5, 0.25, 0.5, 1.0], [1.0, 0.5, 0.5, 1.0], [0.0, 0.0, 0.0, 1.0]]), 0.99)
    assert halting.units.tolist() == [3, 1, 4]
    assert halting.weights.tolist() == [[0.5, 0.25, 0.25, 0], [1, 0, 0, 0], [0, 0, 0, 1]]
    assert halting.ponder_cost.tolist() == [3.25, 2, 5]


def test_the_gradient_of_ponder_cost_is_that_of_finite_differences():
    logits = torch.randn(16, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)

    def ponder_cost(logits: Tensor) -> Tensor:
        return halt(functional.pad(logits.sigmoid(), (0, 1), value=1.0), 0.99).ponder_cost

    assert len(halt(functional.pad(logits.sigmoid(), (0, 1), value=1.0), 0.99).units.unique()) > 1
    assert torch.autograd.gradcheck(ponder_cost, (logits,))


def _reference(model: ACT, image: Tensor, threshold: float) -> tuple[Tensor, list[int], float]:
    """One sample, unit by unit: logits, units evaluated in each stage, ponder cost."""
    features = model.stem(image[None])
    units, ponder_cost = [], 0.0
    for stage, gates in zip(model.stages, model.halting, strict=True):
        total, output = 0.0, torch.zeros(())
        count = 0
        for unit, gate in itertools.zip_longest(stage.children(), gates.children()):
            count += 1
            features = unit(features)
            last = gate is None
            score = 1.0 if last else torch.sigmoid(gate(features)).item()
            if last or total + score >= threshold:
                output = output + (1 - total) * features
                break
            output = output + score * features
            total += score
        units.append(count)
        ponder_cost += count + 1 - total
        features = output
    return model.head(features)[0], units, ponder_cost


@pytest.mark.parametrize("threshold", [0.3, 0.6, 0.99])
@torch.no_grad()
def test_inference_of_a_batch_is_that_of_each_sample_by_itself(threshold):
    model, images = _model(), _images(12)
    meter = _meter(model, 12)
    logits = model.classify(images, OperatingPoint(threshold), meter)
    names = list(model.components())
    evaluated = set()
    for row, image in enumerate(images):
        expected, units, _ = _reference(model, image, threshold)
        torch.testing.assert_close(logits[row], expected)
        for k, count in enumerate(units, start=1):
            ran = {name for name, times in zip(names, meter.executions[row].tolist(), strict=True) if times}
            assert [f"stage{k}.unit{n}" in ran for n in range(1, 5)] == [n <= count for n in range(1, 5)]
            assert [f"stage{k}.halting{n}" in ran for n in range(1, 4)] == [n <= count for n in range(1, 4)]
        evaluated.add(tuple(units))
    assert len(evaluated) > 1  # samples did stop at different units


@torch.no_grad()
def test_the_loss_is_cross_entropy_plus_tau_times_ponder_cost():
    # In evaluation mode batch norm does not mix the samples, so the reference of one sample holds.
    model, images, labels = _model(tau=0.125), _images(6), torch.tensor([0, 1, 2, 3, 0, 1])
    state = TrainingState(0.0, torch.Generator(), "halting")
    loss, logs = model.training_loss(images, labels, _meter(model, 6), state)
    references = [_reference(model, image, 0.99) for image in images]
    classification = functional.cross_entropy(torch.stack([logits for logits, _, _ in references]), labels)
    ponder_cost = torch.tensor([cost for _, _, cost in references]).mean()
    torch.testing.assert_close(loss, classification + 0.125 * ponder_cost)
    torch.testing.assert_close(logs["ponder_cost"], ponder_cost)
    for k in range(3):
        mean_units = sum(units[k] for _, units, _ in references) / 6
        assert logs[f"stage{k + 1}_units"].item() == pytest.approx(mean_units)


def test_ponder_cost_alone_teaches_the_gates_to_halt_earlier():
    model, labels = _model(tau=1.0), torch.zeros(8, dtype=torch.int64)
    _, logs = model.training_loss(
        _images(8),
        labels,
        _meter(model, 8),
        TrainingState(0.0, torch.Generator(), "halting"),
    )
    assert not logs["ponder_cost"].requires_grad
    optimizer = torch.optim.SGD(model.halting.parameters(), lr=1.0)
    before = logs["ponder_cost"]
    for _ in range(5):
        loss, logs = model.training_loss(
            _images(8),
            labels,
            _meter(model, 8),
            TrainingState(0.0, torch.Generator(), "halting"),
        )
        optimizer.zero_grad()
        (loss - logs["classification_loss"]).backward()
        optimizer.step()
    assert logs["ponder_cost"] < before


@torch.no_grad()
def test_a_fresh_network_evaluates_nearly_all_units():
    model = _model(halting_bias=-3.0)
    meter = _meter(model, 8)
    model.classify(_images(8), model.default_point, meter)
    assert meter.executions.float().mean() > 0.9


def _loss(model: ACT, images: Tensor, phase: str, progress: float = 0.0) -> Tensor:
    labels = torch.arange(len(images)) % 4
    return model.training_loss(
        images, labels, _meter(model, len(images)), TrainingState(progress, torch.Generator(), phase)
    )[0]


def test_the_backbone_learns_first_and_then_both():
    phases = _model(backbone_share=0.25).phases
    assert [(phase.name, phase.start) for phase in phases] == [("backbone", 0.0), ("halting", 0.25)]


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_phase_without_steps_is_refused(share):
    with pytest.raises(ValueError, match="both phases need steps"):
        _model(backbone_share=share)


@pytest.mark.parametrize("training", [False, True])
@torch.no_grad()
def test_in_the_backbones_phase_the_loss_is_that_of_the_plain_resnet(training):
    model, images = _model(), _images(8)
    resnet = ResNet(SHAPE, 4, depth=26, channels=(4, 6, 8))
    weights = [value for name, value in model.state_dict().items() if not name.startswith("halting.")]
    # Both hold the same parts in the same order: stem, stages, head.
    names = list(resnet.state_dict())
    resnet.load_state_dict(dict(zip(names, weights, strict=True)))
    model.train(training)
    resnet.train(training)
    meter = Meter(resnet.components(), 8)
    expected, _ = resnet.training_loss(images, torch.arange(8) % 4, meter, TrainingState(0.0, torch.Generator()))
    torch.testing.assert_close(_loss(model, images, "backbone"), expected)


@pytest.mark.parametrize(("phase", "learns"), [("backbone", False), ("halting", True)])
def test_halting_units_learn_in_their_own_phase_only(phase, learns):
    model = _model(tau=0.125)
    _loss(model, _images(8), phase).backward()
    gradients = [parameter.grad for parameter in model.halting.parameters()]
    assert any(gradient is not None and gradient.abs().max() > 0 for gradient in gradients) == learns
    assert all(parameter.grad is not None for stage in model.stages for parameter in stage.parameters())


@torch.no_grad()
def test_the_second_phase_begins_where_the_first_one_ends():
    # The rarer halting is at first, the closer is the network to its backbone.
    gaps = []
    for bias in (-3.0, -6.0, -12.0):
        model = _model(halting_bias=bias, tau=0.0)
        gaps.append((_loss(model, _images(8), "halting") - _loss(model, _images(8), "backbone")).abs().item())
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] < 1e-3


@torch.no_grad()
def test_halting_does_not_depend_on_the_scale_of_the_features_in_training():
    model, images = _model().train(), _images(8)
    unit = next(model.halting[0].children())
    features = images.mean(dim=1, keepdim=True).repeat(1, 4, 1, 1) + torch.randn(8, 4, 1, 1)
    torch.testing.assert_close(unit(features), unit(100 * features), rtol=0.02, atol=0.02)


@torch.no_grad()
def test_the_sweep_goes_from_one_unit_a_stage_to_the_papers_threshold_in_even_steps():
    model, images = _model(), _images(64)
    points = model.operating_points((batch, torch.zeros(32)) for batch in images.split(32))
    assert points[-1] == model.default_point == OperatingPoint(0.99)
    macs = []
    for point in points:
        meter = _meter(model, 64)
        model.classify(images, point, meter)
        macs.append(meter.macs(model.component_macs()).double().mean().item())
    assert macs == sorted(macs)
    assert 8 <= len(points) <= 12
    meter = _meter(model, 64)
    model.classify(images, OperatingPoint(0.0), meter)
    cheapest = meter.macs(model.component_macs()).double().mean().item()
    assert macs[0] - cheapest < 0.1 * (macs[-1] - cheapest)
    steps = torch.tensor(macs).diff()
    assert steps.max() < 0.35 * (macs[-1] - macs[0])


@torch.no_grad()
def test_the_sweep_of_a_network_that_always_halts_at_once_is_the_papers_threshold():
    model = _model(halting_bias=20.0)
    assert model.operating_points([(_images(8), torch.zeros(8))]) == [OperatingPoint(0.99)]


def test_a_stage_of_one_unit_is_refused():
    with pytest.raises(ValueError, match="take 14 or more"):
        ACT(SHAPE, 4, depth=8)
