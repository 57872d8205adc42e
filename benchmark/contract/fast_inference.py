"""Part of the contract: a method runs on components that are optimised for inference, and counts as before."""

import functools

import torch

from benchmark.contract.operator_count import operator_macs
from benchmark.contract.subject import Method, classify, executed, rows_seen, toy
from dynalay.components import component_costs
from dynalay.meter import Meter


def fast_inference_counts_and_answers_alike(method: Method) -> None:
    model, points, _, _ = method.trained
    fixed = model.for_inference()
    images, _ = toy(40, seed=19)
    for point in points[:: max(1, len(points) // 12)]:
        logits, meter = classify(model, images, point)
        fast_meter = Meter(fixed.inference_components(), len(images))
        with torch.inference_mode():
            fast = fixed.classify(images, point, fast_meter)
        assert torch.equal(fast_meter.executions, meter.executions), point
        torch.testing.assert_close(fast, logits, rtol=1e-3, atol=1e-4)
        for note, values in fast_meter.notes.items():
            torch.testing.assert_close(values, meter.notes[note], rtol=1e-2, atol=1e-4, equal_nan=True)


def fast_inference_runs_what_it_counts(method: Method) -> None:
    """Rows as counted; for a sample alone, exactly the operators of the optimised components that the meter counts."""
    model, points, _, _ = method.trained
    components = model.for_inference().inference_components()
    macs = torch.tensor([cost.macs for cost in component_costs(components).values()])
    images, _ = toy(16, seed=20)
    for point in points[:: max(1, len(points) // 4)]:
        meter = Meter(components, 16)
        seen, handles = rows_seen(meter)
        with torch.inference_mode():
            model.classify(images, point, meter)
        for handle in handles:
            handle.remove()
        assert {key: seen[key] for key in components} == executed(meter), point
        alone = Meter(components, 1)
        with torch.no_grad():
            counted = operator_macs(functools.partial(model.classify, images[:1], point, alone))
        assert alone.macs(macs).item() == counted, point


CHECKS = (fast_inference_counts_and_answers_alike, fast_inference_runs_what_it_counts)
