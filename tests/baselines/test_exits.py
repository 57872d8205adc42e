"""What networks with early exits share, and the mathematics of SDN, Zero Time Waste and MSDNet."""

import itertools
import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from baselines.msdnet import FACTORS, MSDNet, PixelConv2d, exit_shares, solve_thresholds
from baselines.sdn import FIRST_WEIGHT, SDN, Ensemble, MixedPool
from dynalay.classifier import OperatingPoint, TrainingState
from dynalay.confidence import max_probability
from dynalay.meter import Meter

SHAPE, CLASSES = (2, 12, 12), 3


def _network(method: Any, **parameters: Any) -> Any:
    torch.manual_seed(0)
    return method(SHAPE, CLASSES, **parameters).eval()


NETWORKS = {
    "sdn": lambda: _network(SDN, depth=14, channels=(8, 8, 16)),
    "zero time waste": lambda: _network(SDN, depth=14, channels=(8, 8, 16), zero_time_waste=True),
    "msdnet": lambda: _network(MSDNet, first_channels=4, layers=6, exits=3, classifier_channels=8),
}
every_network = pytest.mark.parametrize("name", NETWORKS)


@every_network
def test_a_sample_gets_the_answer_of_the_first_exit_that_is_sure_enough(name):
    model, images = NETWORKS[name](), torch.randn(20, *SHAPE)
    with torch.no_grad():
        exits = model.all_exits(images, Meter(model.components(), 20))
        sure = torch.stack([max_probability(logits) for logits in exits], dim=1)
        thresholds = tuple(sure[:, n].median().item() for n in range(model.exits - 1))
        meter = Meter(model.components(), 20)
        logits = model.classify(images, OperatingPoint(0.5, setting=thresholds), meter)
    taken = [
        next(n for n in range(model.exits) if n == model.exits - 1 or row[n] >= thresholds[n]) for row in sure.tolist()
    ]
    assert len(set(taken)) > 1
    expected = torch.stack([exits[n][sample] for sample, n in enumerate(taken)])
    torch.testing.assert_close(logits, expected)
    segments = [list(meter.components).index(f"segment{n}") for n in range(1, model.exits + 1)]
    assert meter.executions[:, segments].sum(dim=1).tolist() == [n + 1 for n in taken]


@every_network
def test_operating_points_spend_more_from_one_to_the_next(name):
    model, images = NETWORKS[name](), torch.randn(40, *SHAPE)
    spent = []
    with torch.no_grad():
        for point in model.operating_points([(images, torch.zeros(40))]):
            meter = Meter(model.components(), 40)
            model.classify(images, point, meter)
            spent.append(meter.macs(model.component_macs()).float().mean().item())
    assert len(spent) >= 5
    early = spent[:-1]  # the last point leaves out the early exits themselves
    assert early == sorted(early)


@every_network
def test_a_batch_of_no_samples_gets_no_answers(name):
    model, images = NETWORKS[name](), torch.randn(8, *SHAPE)
    with torch.no_grad():
        points = model.operating_points([(images, torch.zeros(8))])
        together = [logits for logits, _ in model.classify_at(images[:0], points)]
        alone = [model.classify(images[:0], point, Meter(model.components(), 0)) for point in points]
    assert all(logits.shape == (0, CLASSES) for logits in together + alone)


def test_exits_that_are_not_run_cost_nothing():
    model = NETWORKS["sdn"]()
    meter = Meter(model.components(), 2)
    with torch.no_grad():
        model.classify(torch.randn(2, *SHAPE), model.default_point, meter)
    ran = {name for name, times in zip(meter.components, meter.executions.sum(dim=0).tolist(), strict=True) if times}
    assert ran == {*(f"segment{n}" for n in range(1, model.exits + 1)), f"exit{model.exits}"}


def test_internal_classifiers_stand_at_the_papers_shares_of_compute():
    model = SDN((3, 32, 32), 10, depth=56)
    assert model.final_weights == pytest.approx([0.15, 0.3, 0.45, 0.6, 0.75, 0.9], abs=0.03)
    components = model.components()
    macs = dict(zip(components, model.component_macs().tolist(), strict=True))
    segments = [macs[f"segment{n}"] for n in range(1, model.exits + 1)]
    spent = [sum(segments[:n]) / (sum(segments) + macs[f"exit{model.exits}"]) for n in range(1, model.exits)]
    assert spent == pytest.approx(model.final_weights, abs=0.001)


@pytest.mark.parametrize("progress", [0.0, 0.25, 0.75])
def test_the_weights_of_sdns_classifiers_grow_linearly(progress):
    model = NETWORKS["sdn"]()
    images, labels = torch.randn(8, *SHAPE), torch.arange(8) % CLASSES
    state = TrainingState(progress, torch.Generator())
    with torch.no_grad():
        loss, logs = model.training_loss(images, labels, Meter(model.components(), 8), state)
    *early, last = (logs[f"exit{n}_loss"].item() for n in range(1, model.exits + 1))
    weights = [FIRST_WEIGHT + (final - FIRST_WEIGHT) * progress for final in model.final_weights]
    assert loss.item() == pytest.approx(last + sum(w * each for w, each in zip(weights, early, strict=True)))


def test_mixed_pooling_is_a_mixture_of_both():
    features, pool = torch.randn(2, 3, 8, 8), MixedPool(4)
    pool.share.data.fill_(0.25)
    expected = 0.25 * functional.max_pool2d(features, 2) + 0.75 * functional.avg_pool2d(features, 2)
    torch.testing.assert_close(pool(features), expected)


def test_an_ensemble_is_the_normalised_product_of_weighted_powers():
    """Wolczyk 2021, eq. 1, computed directly."""
    torch.manual_seed(1)
    ensemble = Ensemble(3, CLASSES)
    for parameter in ensemble.parameters():
        nn.init.normal_(parameter)
    probabilities = torch.randn(5, 3, CLASSES).softmax(dim=2)
    powers = probabilities ** ensemble.log_weights.exp()[:, None]
    product = powers.prod(dim=1) * ensemble.log_bias.exp()
    torch.testing.assert_close(ensemble(probabilities.log()).softmax(dim=1), product / product.sum(dim=1, keepdim=True))


def test_a_new_ensemble_is_the_geometric_mean():
    probabilities = torch.randn(5, 4, CLASSES).softmax(dim=2)
    mean = probabilities.log().mean(dim=1).softmax(dim=1)
    torch.testing.assert_close(Ensemble(4, CLASSES)(probabilities.log()).softmax(dim=1), mean)


def test_a_cascade_passes_no_gradient_back_and_a_frozen_network_learns_none():
    model = NETWORKS["zero time waste"]().train()
    images, labels = torch.randn(8, *SHAPE), torch.arange(8) % CLASSES
    answers = model._classifiers(images, Meter(model.components(), 8))
    functional.cross_entropy(answers[1], labels).backward()
    assert model.internal[0].linear.weight.grad is None
    assert model.internal[1].linear.weight.grad is not None
    model.zero_grad()
    state = TrainingState(0.5, torch.Generator(), "ensemble")
    model.training_loss(images, labels, Meter(model.components(), 8), state)[0].backward()
    learning = {name.partition(".")[0] for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert learning == {"ensembles"}


@pytest.mark.parametrize("q", [0.0, 0.3, 1.0, 2.0])
def test_thresholds_have_each_share_of_the_samples_leave(q):
    confidences = torch.rand(1000, 4, generator=torch.Generator().manual_seed(0))
    shares = exit_shares(q, 4)
    assert sum(shares) == pytest.approx(1)
    assert all(b == pytest.approx(a * q) for a, b in itertools.pairwise(shares))
    thresholds = torch.tensor([*solve_thresholds(confidences, shares), -math.inf])
    leaves_at = (confidences >= thresholds).int().argmax(dim=1)
    left = torch.bincount(leaves_at, minlength=4) / 1000
    assert left.tolist() == pytest.approx(shares, abs=0.002)


def test_msdnets_layers_grow_and_drop_scales_as_the_paper_says():
    model = MSDNet((3, 32, 32), 10, first_channels=16, growth=6, layers=9, exits=9)
    shapes = [component.input_shapes for name, component in model.components().items() if name.startswith("segment")]
    assert shapes[1] == tuple(((16 + 6) * factor, 32 // 2**s, 32 // 2**s) for s, factor in enumerate(FACTORS))
    assert [len(each) for each in shapes[1:]] == [3, 3, 3, 2, 2, 2, 1, 1]
    # Where the finest scale is dropped, channels are halved.
    assert shapes[4] == tuple(((16 + 4 * 6) * factor // 2, 32 // 2**s, 32 // 2**s) for s, factor in zip((1, 2), (2, 4)))  # noqa: B905


def test_over_one_pixel_msdnet_has_true_gradients_in_bfloat16():
    """On CPUs with bfloat16 instructions, PyTorch's own are unset memory: dirty it, and some are NaN."""
    model = MSDNet((1, 6, 6), 2, layers=3, exits=3, first_channels=8, growth=4, classifier_channels=16)
    convolution = next(module for module in model.modules() if isinstance(module, PixelConv2d))
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        image = torch.randn(64, 16, 1, 1, generator=generator)
        convolution.zero_grad()
        del [torch.full_like(convolution.weight, torch.nan) for _ in range(3)][:]
        with torch.autocast("cpu", torch.bfloat16):
            output = convolution(image)
        output.square().sum().backward()
        weight = convolution.weight.detach()[:, :, 1, 1]
        expected = 2 * (image[:, :, 0, 0] @ weight.T).T @ image[:, :, 0, 0]
        assert convolution.weight.grad is not None
        torch.testing.assert_close(convolution.weight.grad[:, :, 1, 1], expected, rtol=1e-4, atol=1e-3)
        assert convolution.weight.grad.isfinite().all()
