import pytest
import torch

from dynalay.classifier import OperatingPoint
from dynalay.dynalay import DynaLay
from dynalay.meter import Meter
from dynalay.plans import PlanAgent
from dynalay.trace import TracingMeter

SHAPE = (3, 8, 8)


class Moody(PlanAgent):
    """Is of another opinion about everything that it sees, however little it differs."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.float()
        directions = torch.randn(x.shape[1], self.worth.out_features, generator=torch.Generator().manual_seed(0))
        return (1e4 * x @ directions).sin()


@pytest.mark.parametrize(
    ("paths", "options"),
    [
        (8, {"layers": (5,), "channels": (6,), "strides": (1,)}),
        (8, {"layers": (1, 2, 2), "channels": (4, 6, 8), "strides": (1, 2, 2)}),
        (3, {"layers": (1,), "channels": (6,), "strides": (1,), "evaluations": 4, "iterations": 2}),
        (4, {"layers": (2, 1), "channels": (4, 6), "strides": (1, 2), "evaluations": 2}),
        (4, {"layers": (1, 2), "channels": (4, 6), "strides": (1, 2), "sees_states": False}),
    ],
)
@torch.inference_mode()
def test_a_sample_alone_goes_the_way_that_it_goes_in_a_batch(paths, options):
    model, taken = DynaLay(SHAPE, 5, pool="maximum", **options).eval(), set()
    model.agent.__class__ = Moody
    for price in (1.0, 0.1, 0.0):
        for image in torch.randn(12, *SHAPE).split(1):
            alone = Meter(model.components(), 1)
            asked = TracingMeter(
                model.components(), 1, model.component_macs()
            )  # who listens hears of rows, so these are kept
            answers = [model.classify(image, OperatingPoint(price), meter) for meter in (alone, asked)]
            torch.testing.assert_close(*answers, rtol=0, atol=0)
            assert alone.executions.tolist() == asked.executions.tolist()
            assert alone.notes.keys() == asked.notes.keys()
            assert all(torch.equal(alone.notes[name], asked.notes[name]) for name in asked.notes)
            taken.add(tuple(alone.executions[0].tolist()))
    assert len(taken) >= paths, "hardly anything was compared"


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@torch.inference_mode()
def test_in_other_precisions_it_goes_the_same_way_too(dtype):
    model = DynaLay(SHAPE, 5, layers=(1, 2), channels=(4, 6), strides=(1, 2), iterations=2).eval().to(dtype)
    model.agent.__class__ = Moody
    for image in torch.randn(12, *SHAPE, dtype=dtype).split(1):
        meters = Meter(model.components(), 1), TracingMeter(model.components(), 1, model.component_macs())
        answers = [model.classify(image, OperatingPoint(0.1), meter) for meter in meters]
        assert answers[0].dtype == dtype
        torch.testing.assert_close(*answers, rtol=0, atol=0)
        assert meters[0].executions.tolist() == meters[1].executions.tolist()


@torch.inference_mode()
def test_with_folded_components_it_answers_up_to_rounding():
    model = DynaLay(SHAPE, 5, layers=(1, 2), channels=(4, 6), strides=(1, 2)).eval()
    for tensor in (*model.agent.parameters(), model.agent.mean):
        tensor.data.normal_()
    model.agent.std.uniform_(0.1, 2.0)
    fast = model.for_inference()
    for price in (1000.0, 100.0, 10.0):
        for image in torch.randn(12, *SHAPE).split(1):
            slow = Meter(model.components(), 1)
            expected = model.classify(image, OperatingPoint(price), slow)
            found = fast.predict(image, price=price)
            torch.testing.assert_close(found.logits, expected, rtol=1e-4, atol=1e-4)
            assert found.macs.tolist() == slow.macs(model.component_macs()).tolist()
