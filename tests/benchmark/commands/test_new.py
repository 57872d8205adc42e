"""`new` writes templates that fulfil the contract unedited, and `check --kind` says so, or what is broken."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmark.__main__ import main
from benchmark.contract.methods import Method
from benchmark.contract.telling import an_adaptive_method_tells_of_its_decisions
from benchmark.experiment import kinds

pytestmark = pytest.mark.usefixtures("elsewhere")


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """An empty folder that is the current one and is imported from."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.slow  # trains the method for a few steps
@pytest.mark.parametrize(("sort", "symbol"), [("method", "MyMethod"), ("dataset", "generate")])
def test_a_template_fulfils_the_contract_unedited(sort, symbol, capsys):
    assert main(["new", sort, f"my_{sort}"]) == 0
    assert f"my_{sort}: {{kind: 'my_{sort}:{symbol}'}}" in capsys.readouterr().out
    assert main(["check", "--kind", f"my_{sort}:{symbol}"]) == 0
    report = capsys.readouterr().out
    assert "FAIL" not in report
    assert report.count("ok  ") >= 5


@pytest.mark.slow
def test_the_methods_template_tells_of_its_decisions_as_every_method_of_the_suite_does():
    assert main(["new", "method", "telling"]) == 0
    an_adaptive_method_tells_of_its_decisions(Method(kinds.find("method", "telling:Telling")))


@pytest.mark.parametrize("sort", ["method", "dataset"])
def test_a_template_has_no_fault_of_style(sort):
    assert main(["new", sort, "my_own"]) == 0
    config = Path(__file__).parents[3] / "pyproject.toml"
    # Which imports are first-party, and so their order, depends on the folder.
    for command in (["check", "--ignore", "I001"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--config", str(config), "my_own.py"]
        finished = subprocess.run(ruff, capture_output=True, text=True, check=False)
        assert finished.returncode == 0, finished.stdout


def test_the_file_goes_where_kinds_are_in_a_checkout(tmp_path, capsys):
    (tmp_path / "baselines").mkdir()
    (tmp_path / "baselines" / "__init__.py").touch()
    assert main(["new", "method", "my_own"]) == 0
    assert (tmp_path / "baselines" / "my_own.py").exists()
    assert "kind: 'my_own'}" in capsys.readouterr().out
    assert main(["new", "method", "another", "--folder", "here"]) == 0
    assert (tmp_path / "here" / "another.py").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [("My-Own", "cannot be a name"), ("class", "cannot be a name"), ("resnet", "already"), ("twice", "exists")],
)
def test_names_that_cannot_be_used_are_refused(name, message, capsys):
    Path("twice.py").touch()
    assert main(["new", "method", name]) == 2
    assert message in capsys.readouterr().err
    assert Path("twice.py").read_text() == ""


BROKEN = """
def generate(folder, *, size: int = 8):
    \"\"\"A dataset that differs each time.\"\"\"
    import numpy as np
    from benchmark.data.raw import RawDataset, RawSplit
    images = np.random.default_rng().integers(256, size=(20, 1, size, size)).astype(np.uint8)
    split = RawSplit(np.arange(20) % 2, images.__getitem__)
    return RawDataset(("a", "b"), split, split, split)
"""


def test_what_breaks_the_contract_is_named(capsys):
    Path("broken.py").write_text(BROKEN)
    assert main(["check", "--kind", "broken:generate"]) == 2
    captured = capsys.readouterr()
    assert "FAIL  every parameter is explained" in captured.out
    assert "FAIL  the same parameters give the same data" in captured.out
    assert "ok    labels are classes and splits are not empty" in captured.out
    assert "broken:generate breaks the contract in 2 ways" in captured.err


def test_a_kind_that_cannot_be_found_is_named(capsys):
    assert main(["check", "--kind", "nowhere:Method"]) == 2
    assert "no module 'nowhere'" in capsys.readouterr().err
