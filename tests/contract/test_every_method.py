"""The contract, over every method that there is: a new file in `baselines/` is tested with no edit here."""

import functools

import pytest

from benchmark.contract.methods import CHECKS, Method
from benchmark.contract.subject import toy
from benchmark.contract.telling import traced_at
from benchmark.experiment import kinds


@functools.cache
def method(name: str) -> Method:
    return Method(kinds.find("method", name))


@pytest.mark.parametrize("name", kinds.names("method"))
def test_every_adaptive_method_of_the_suite_tells_of_its_decisions(name):
    """Telling is optional for others. Here, whoever spends more on some samples than on others says why."""
    model, points, _, _ = method(name).trained
    images, _ = toy(24, seed=19)
    for point in [point for point in points if point.policy == "own"]:
        _, meter = traced_at(model, images, point)
        assert meter.decisions or len(meter.spent().unique()) == 1, point


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", kinds.names("method"))
def test_every_method_fulfils_the_contract(name, check):
    check(method(name))
