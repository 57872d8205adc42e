"""The contract, over every method that there is: a new file in `baselines/` is tested with no edit here."""

import functools

import pytest

from benchmark.contract.methods import CHECKS, Method
from benchmark.contract.telling import an_adaptive_method_tells_of_its_decisions
from benchmark.experiment import kinds


@functools.cache
def method(name: str) -> Method:
    return Method(kinds.find("method", name))


@pytest.mark.parametrize("name", kinds.names("method"))
def test_every_adaptive_method_of_the_suite_tells_of_its_decisions(name):
    """Telling is optional for others. Here, whoever spends more on some samples than on others says why."""
    an_adaptive_method_tells_of_its_decisions(method(name))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", kinds.names("method"))
def test_every_method_fulfils_the_contract(name, check):
    check(method(name))
