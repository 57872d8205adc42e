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
        for point in (point for point in model.operating_points([]) if point.policy == "own"):
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


def _cell_evaluations(model: DEQ, meter: Meter) -> torch.Tensor:
    return meter.executions[:, list(meter.components).index("layer1.cell")]


def test_unrolled_gradients_are_the_implicit_ones_at_the_fixed_point_and_phantom_ones_point_the_same_way():
    images, labels = torch.randn(6, *SHAPE, dtype=torch.float64), torch.arange(6) % CLASSES
    found = {}
    for gradient in ("implicit", "unrolled", "phantom"):
        model = _network(
            solver="picard",
            gradient=gradient,
            tolerance=1e-10,
            iterations=300,
            jacobian_penalty=0.0,
            unrolled_share=0.0,
        )
        model.double().eval()
        loss, _ = model.training_loss(
            images, labels, Meter(model.components(), 6), TrainingState(0.5, torch.Generator())
        )
        loss.backward()
        weight = model.network.layers[0].cell.get_parameter("conv2.weight")
        assert weight.grad is not None
        found[gradient] = loss.item(), weight.grad.flatten()
    exact_loss, exact = found["implicit"]
    assert found["unrolled"][0] == pytest.approx(exact_loss, rel=1e-8)
    assert found["phantom"][0] == pytest.approx(exact_loss, rel=1e-8)
    assert (found["unrolled"][1] - exact).norm() < 1e-6 * exact.norm()
    phantom = found["phantom"][1]
    assert (phantom - exact).norm() > 1e-4 * exact.norm()  # five damped steps are not the whole series
    assert functional.cosine_similarity(phantom, exact, dim=0) > 0.9


def test_training_runs_the_forward_of_inference_where_nothing_is_unrolled():
    model, images = _network(unrolled_share=0.0, jacobian_penalty=0.0).eval(), torch.randn(8, *SHAPE)
    trained, classified = (Meter(model.components(), 8) for _ in range(2))
    model.training_loss(images, torch.zeros(8).long(), trained, TrainingState(0.0, torch.Generator()))
    with torch.no_grad():
        model.classify(images, model.default_point, classified)
    extra = trained.executions - classified.executions
    cell = list(trained.components).index("layer1.cell")
    assert (extra[:, cell] == 1).all()  # the one evaluation that the implicit gradient differentiates
    assert extra.sum() == 8


def _iterated_on(model: DEQ, images: torch.Tensor) -> Meter:
    (point,) = [point for point in model.operating_points([]) if point.policy == "onwards"]
    meter = Meter(model.components(), len(images))
    with torch.no_grad():
        model.classify(images, point, meter)
    return meter


def test_answers_of_fixed_points_hold_when_iterated_four_times_as_long():
    model, images = _network(solver="picard", iterations=40, tolerance=1e-3).eval(), torch.randn(12, *SHAPE)
    meter = _iterated_on(model, images)
    assert (meter.notes["held"] == 1).all()
    assert (meter.notes["converged"] == 1).all()
    assert (meter.notes["residual1"] < 1e-5).all()


class Alternating(torch.nn.Module):
    """From zero it goes to u, back to zero, and so on: never nearer to its fixed point u / 2."""

    def forward(self, z: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        return u - z


def test_answers_of_a_recurrence_that_does_not_converge_do_not_hold():
    model, images = _network(solver="picard", iterations=5).eval(), torch.randn(40, *SHAPE)
    network = model.network
    network.layers[0].cell = Alternating()
    with torch.no_grad():  # u, after 5 evaluations, is class 1; zero, after 20, is class 0
        network.head.get_parameter("3.weight").copy_(torch.tensor([[0.0], [1.0], [0.0]]).expand(3, 8))
        network.head.get_parameter("3.bias").copy_(torch.tensor([1e-3, 0.0, 0.0]))
    meter = _iterated_on(model, images)
    assert (meter.notes["converged"] == 0).all()
    assert (meter.notes["held"] == 0).all()
    assert (_cell_evaluations(model, meter) == 5 + 20).all()
    assert (meter.notes["evaluations"] == 20).all()
