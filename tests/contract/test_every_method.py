"""The contract, over every method that there is: a new file in `baselines/` is tested with no edit here."""

import functools

import pytest

from benchmark.contract.methods import CHECKS, Method
from benchmark.experiment import kinds


@functools.cache
def method(name: str) -> Method:
    return Method(kinds.find("method", name))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", kinds.names("method"))
def test_every_method_fulfils_the_contract(name, check):
    check(method(name))
