"""The contract of decisions: what a method tells of them leads from its first step to its answer.

Telling is optional. A method that tells of some decisions has to tell of all.
"""

from collections import defaultdict

import torch

from benchmark.contract.subject import Method, classify, few, toy
from dynalay.classifier import AdaptiveClassifier, OperatingPoint
from dynalay.trace import TracingMeter


def telling_of_decisions_changes_nothing(method: Method) -> None:
    model, points, _, _ = method.trained
    images, _ = toy(24, seed=19)
    for point in few(points):
        logits, meter = classify(model, images, point)
        traced, tracing = traced_at(model, images, point)
        assert torch.equal(traced, logits), point
        assert torch.equal(tracing.executions, meter.executions), point
        assert meter.notes.keys() == tracing.notes.keys()


def decisions_lead_to_the_answer_and_explain_its_compute(method: Method) -> None:
    model, points, _, _ = method.trained
    images, _ = toy(24, seed=19)
    for point in few(points):
        logits, meter = traced_at(model, images, point)
        final = logits.float().softmax(dim=1)
        spent, answer = torch.zeros(len(images), dtype=torch.int64), torch.zeros_like(final)
        path = [""] * len(images)
        for decision in meter.decisions:
            rows, named = decision.rows, (point, decision.name)
            assert len(rows.unique()) == len(rows), named
            assert (decision.macs >= spent[rows]).all(), named
            assert decision.probabilities.shape == (len(rows), final.shape[1]), named
            torch.testing.assert_close(decision.probabilities.sum(dim=1), torch.ones(len(rows)))
            assert all(len(part) == len(rows) for part in (*decision.numbers.values(), *decision.seen.values())), named
            assert all(number.isfinite().any() or number.isinf().any() for number in decision.numbers.values()), named
            for row, choice in zip(rows.tolist(), decision.chosen.tolist(), strict=True):
                path[row] += f"{decision.name}: {decision.choices[choice]}; "
            spent[rows], answer[rows] = decision.macs, decision.probabilities
        assert (meter.spent() >= spent).all(), point
        # Where nothing was computed after the last decision, its answer was the answer.
        ended = meter.spent() == spent
        torch.testing.assert_close(answer[ended], final[ended], rtol=1e-3, atol=1e-4)
        costs = defaultdict(set)
        for taken, macs in zip(path, meter.spent().tolist(), strict=True):
            costs[taken].add(macs)
        if meter.decisions:
            assert all(len(macs) == 1 for macs in costs.values()), f"{point}: decided alike, and spent {dict(costs)}"


def an_adaptive_method_tells_of_its_decisions(method: Method) -> None:
    """Not part of the contract: the suite asks it of its own methods and of its template."""
    model, points, _, _ = method.trained
    images, _ = toy(24, seed=19)
    for point in [point for point in points if point.policy == "own"]:
        _, meter = traced_at(model, images, point)
        assert meter.decisions or len(meter.spent().unique()) == 1, point


def traced_at(
    model: AdaptiveClassifier, images: torch.Tensor, point: OperatingPoint
) -> tuple[torch.Tensor, TracingMeter]:
    """Logits [batch, classes] at an operating point, and the meter that took down the decisions."""
    meter = TracingMeter(model.components(), len(images), model.component_macs())
    with torch.inference_mode():
        return model.classify(images, point, meter), meter


CHECKS = (telling_of_decisions_changes_nothing, decisions_lead_to_the_answer_and_explain_its_compute)
