"""What the package shows to the outside."""

import doctest
import subprocess
import sys
from pathlib import Path

import pytest

import dynalay
from benchmark.experiment import configuration
from dynalay import DynaLay, Workshop

ROOT = Path(__file__).parents[2]


def test_the_examples_of_the_documentation_run():
    results = doctest.testfile(str(ROOT / "docs" / "library.md"), module_relative=False)
    assert results.attempted > 15
    assert results.failed == 0


def test_all_that_is_exported_is_there_and_described():
    for name in dynalay.__all__:
        assert getattr(dynalay, name).__doc__, name
    assert dynalay.__all__ == sorted(dynalay.__all__)


@pytest.mark.slow
def test_importing_it_loads_nothing_of_the_benchmark():
    others = ("timm", "torchvision", "benchmark", "baselines")
    code = f"import sys, dynalay; print([name for name in {others} if name in sys.modules])"
    command = [sys.executable, "-W", "ignore", "-c", code]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "path", sorted(path.name for path in (ROOT / "config").glob("*.yaml") if path.stem != "claims")
)
def test_every_configured_variant_can_be_built(path):
    """Parameters are checked one by one when a configuration is read; that they go together, only here."""
    runs = configuration.load(ROOT / "config" / path).runs()
    kinds = {"dynalay": DynaLay, "workshop": Workshop}
    variants = {
        (run.method_kind, str(run.method_parameters)): run.method_parameters for run in runs if run.method_kind in kinds
    }
    for (kind, _), parameters in variants.items():
        kinds[kind]((3, 16, 16), 4, **parameters)
