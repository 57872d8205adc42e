"""A stream is classified as its batches are, with batches joined where that keeps components busy."""

import threading

import pytest
import torch

from baselines.act import ACT
from baselines.branchynet import BranchyNet
from dynalay import DynaLay, OperatingPoint, stream
from dynalay.meter import Meter

METHODS = {
    "branchynet": (BranchyNet, OperatingPoint(0.5, setting=(2.295, 2.28, 2.25))),
    "act": (ACT, OperatingPoint(0.4)),
    "dynalay": (DynaLay, OperatingPoint(0.5, "random")),
}


@pytest.fixture(scope="module", params=METHODS)
def case(request):
    torch.manual_seed(0)
    kind, point = METHODS[request.param]
    return kind((1, 8, 8), 10).eval().for_inference(), point


@pytest.mark.parametrize(("size", "places"), [(7, 20), (16, 16), (30, 5), (5, 1000)])
def test_answers_counts_and_order_are_those_of_predict(case, size, places):
    model, point = case
    images = torch.randn(64, 1, 8, 8)
    expected = model.predict(images, point=point)
    found = list(stream(model, images.split(size), point=point, places=places))
    assert [len(each.labels) for each in found] == [len(each) for each in images.split(size)]
    torch.testing.assert_close(torch.cat([each.logits for each in found]), expected.logits, rtol=1e-3, atol=1e-4)
    assert torch.equal(torch.cat([each.macs for each in found]), expected.macs)


def test_freed_places_are_refilled(case):
    model, point = case
    images = torch.randn(96, 1, 8, 8)
    components = model.inference_components()
    alone = Meter(components, len(images))
    with torch.inference_mode():
        model.classify(images, point, alone)
    sizes: dict[str, list[int]] = {name: [] for name in components}
    handles = [
        component.module.register_forward_pre_hook(lambda _, inputs, name=name: sizes[name].append(len(inputs[0])))
        for name, component in components.items()
    ]
    list(stream(model, images.split(8), point=point, places=24))
    for handle in handles:
        handle.remove()
    ran = alone.executions.sum(dim=0).tolist()
    for name, rows in zip(components, ran, strict=True):
        assert sum(sizes[name]) == rows, "each row runs once"
    joined = [name for name in components if sizes[name] and len(sizes[name]) < len(images) / 8]
    assert joined, "batches of the stream are joined"


def test_a_stream_that_is_no_longer_read_leaves_no_thread(case):
    model, point = case
    before = threading.active_count()
    predictions = stream(model, iter(torch.randn(64, 1, 8, 8).split(8)), point=point, places=32)
    next(predictions)
    predictions.close()  # type: ignore[attr-defined]
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and thread.daemon:
            thread.join(timeout=5)
    assert threading.active_count() <= before


def test_what_fails_in_a_batch_is_raised_where_the_stream_is_read(case):
    model, point = case
    batches = [torch.randn(4, 1, 8, 8), torch.randn(4, 3, 8, 8)]
    with pytest.raises((RuntimeError, ValueError)):
        list(stream(model, batches, point=point))
    with pytest.raises(ValueError, match="places=0"):
        next(stream(model, batches, places=0))


def test_an_empty_stream_has_no_predictions(case):
    assert list(stream(case[0], [])) == []
