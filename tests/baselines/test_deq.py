"""DEQ against an independent implementation, and what its tolerance buys."""

import copy
from typing import Any

import pytest
import torch
from torch.nn import functional
from torchdeq import get_deq

from baselines.deq import DEQ
from dynalay.classifier import OperatingPoint, TrainingState
from dynalay.meter import Meter

SHAPE, CLASSES = (2, 8, 8), 3


def _network(**parameters: Any) -> DEQ:
    torch.manual_seed(0)
    return DEQ(SHAPE, CLASSES, channels=(8,), strides=(1,), **parameters)


def test_answers_and_gradients_agree_with_torchdeq():
    parameters: dict[str, Any] = {"tolerance": 1e-9, "iterations": 200, "jacobian_penalty": 0.0, "unrolled_share": 0.0}
    ours = _network(**parameters).double().eval()
    theirs = copy.deepcopy(ours)
    images, labels = torch.randn(6, *SHAPE, dtype=torch.float64), torch.arange(6) % CLASSES
    state = TrainingState(0.5, torch.Generator())
    loss, _ = ours.training_loss(images, labels, Meter(ours.components(), 6), state)
    loss.backward()

    network = theirs.network
    u = network.transitions[0](network.stem(images))
    solver = get_deq(
        f_solver="anderson", f_stop_mode="rel", f_tol=1e-10, f_max_iter=200,
        b_solver="anderson", b_stop_mode="rel", b_tol=1e-10, b_max_iter=200, ift=True,
    )  # fmt: skip
    fixed, _ = solver(lambda z: network.layers[0].cell(z, u), torch.zeros_like(u))
    expected = functional.cross_entropy(network.head(fixed[-1]), labels)
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    for (name, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert mine.grad is not None, name
        assert other.grad is not None, name
        assert (mine.grad - other.grad).norm() < 1e-5 * other.grad.norm(), name


def test_a_smaller_tolerance_takes_more_evaluations_and_ends_nearer_the_fixed_point():
    model, images = _network(tolerance=1e-4, iterations=60, points=5).eval(), torch.randn(12, *SHAPE)
    evaluations, residuals = [], []
    with torch.no_grad():
        for point in model.operating_points([]):
            meter = Meter(model.components(), 12)
            model.classify(images, point, meter)
            evaluations.append(meter.executions[:, list(meter.components).index("layer1.cell")].float().mean().item())
            residuals.append(meter.notes["residual1"])
            assert point.knob == 1 or (residuals[-1] <= point.knob).all()
    assert evaluations[0] == 1
    assert evaluations == sorted(evaluations)
    assert (residuals[-1] < residuals[0]).all()


def test_a_sample_that_is_solved_leaves_the_iteration():
    model, images = _network(tolerance=1e-4, iterations=60).eval(), torch.randn(12, *SHAPE)
    meter = Meter(model.components(), 12)
    with torch.no_grad():
        model.classify(images, OperatingPoint(1e-4), meter)
    taken = meter.executions[:, list(meter.components).index("layer1.cell")]
    assert taken.min() < taken.max() < 60


def test_training_unrolls_first_and_solves_then():
    model, images, labels = _network(unrolled_share=0.3).train(), torch.randn(4, *SHAPE), torch.zeros(4).long()
    taken = []
    for progress in (0.29, 0.31):
        meter = Meter(model.components(), 4)
        model.training_loss(images, labels, meter, TrainingState(progress, torch.Generator().manual_seed(0)))
        taken.append(meter.executions[:, list(meter.components).index("layer1.cell")])
    assert (taken[0] == 3 + 1).all()  # and one for the Jacobian
    assert (taken[1] > 4).all()
