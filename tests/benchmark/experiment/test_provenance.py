"""run.json, and where its entries come from."""

import math
import subprocess
from pathlib import Path

import pytest
import torch

from benchmark.errors import UserError
from benchmark.experiment import provenance
from benchmark.experiment.configuration import Recipe, Run
from benchmark.training.energy import EnergyMeter
from tests.benchmark.miniature import TOTAL, Miniature

RUN = Run("experiment", "digits", "small", 0, "digits", {}, "resnet", {"depth": 8}, Recipe())


def test_a_finished_run_tells_how_it_was_made(tmp_path):
    miniature = Miniature(tmp_path, tmp_path / "data")
    assert miniature("train") == 0
    trained = miniature.run_json()
    assert trained["status"] == "trained"
    assert miniature("evaluate") == 0
    content = miniature.run_json()
    assert content["status"] == "evaluated"
    assert content["error"] is None
    assert content["run"] == "digits/network/seed0"
    assert content["method"]["parameters"]["rounds"] == 1  # the configuration's
    assert content["method"]["parameters"]["phantom_steps"] > 0  # the method's default
    assert content["recipe"]["epochs"] == 4
    assert content["seed"] == 0
    assert (content["preemptions"], content["processes"]) == (0, 1)
    assert 0 < content["training_seconds"] < 1000
    assert content["training_macs"] > TOTAL * 16 * 1000
    assert content["parameters"] > 1000
    assert torch.__version__.startswith(content["versions"]["torch"])  # it may add how it was built
    assert content["hardware"]["device"] == content["evaluation"]["hardware"]["device"] == "cpu"
    assert content["hardware"]["threads"] == torch.get_num_threads()
    assert content["code"]["commit"] == provenance.code()["commit"]
    assert len(content["data"]) == 64
    assert content["started"][:2] == "20"


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """Imagine the module in a checkout of its own; returns git in it, and what it says of the code."""
    source = tmp_path / "benchmark" / "experiment" / "provenance.py"
    source.parent.mkdir(parents=True)
    source.write_text("")
    monkeypatch.setattr(provenance, "__file__", str(source))

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "--quiet")
    return git, provenance.code.__wrapped__


def test_the_commit_and_whether_the_code_differs_from_it(checkout, tmp_path):
    git, code = checkout
    git("add", "benchmark")
    git("commit", "--quiet", "--message", "one")
    clean = {"commit": git("rev-parse", "HEAD"), "dirty": False}
    assert code() == clean
    (tmp_path / "notes.txt").write_text("beside the code")
    assert code() == clean
    (tmp_path / "benchmark" / "new.py").write_text("")  # not in any commit, but it runs
    assert code() == clean | {"dirty": True}
    git("add", "benchmark")
    git("commit", "--quiet", "--message", "two")
    (tmp_path / "benchmark" / "new.py").write_text("changed = True")
    assert code() == {"commit": git("rev-parse", "HEAD"), "dirty": True}


def test_a_copy_inside_somebody_elses_checkout_has_no_commit(checkout, tmp_path):
    git, code = checkout
    (tmp_path / "theirs.txt").write_text("")
    git("add", "theirs.txt")
    git("commit", "--quiet", "--message", "theirs")
    reason = "the code that runs is in no git checkout of its own"
    assert code() == {"commit": None, "dirty": None, "reason": reason}


def test_of_another_users_checkout_it_says_why_no_commit_is_known(checkout, monkeypatch, capsys):
    git, code = checkout
    git("add", "benchmark")
    git("commit", "--quiet", "--message", "one")
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    found = code()
    assert (found["commit"], found["dirty"]) == (None, None)
    assert "belongs to another user" in found["reason"]
    assert "safe.directory" in found["reason"]
    monkeypatch.setattr(provenance, "code", lambda: found)
    provenance.warn_of_changes()
    assert f"warning: run.json will name no commit: {found['reason']}" in capsys.readouterr().err


def test_without_git_it_says_so(checkout, monkeypatch, tmp_path):
    _, code = checkout
    monkeypatch.setenv("PATH", str(tmp_path))
    assert code() == {"commit": None, "dirty": None, "reason": "git is not installed"}


def test_a_dirty_tree_is_said_once_more_on_the_terminal(monkeypatch, capsys):
    monkeypatch.setattr(provenance, "code", lambda: {"commit": "0123456789abcdef", "dirty": False})
    provenance.warn_of_changes()
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(provenance, "code", lambda: {"commit": "0123456789abcdef", "dirty": True})
    provenance.warn_of_changes()
    assert "warning: the code differs from its commit 0123456789" in capsys.readouterr().err


def test_entries_of_another_configuration_are_dropped(tmp_path):
    provenance.update(tmp_path, RUN, status="trained")
    provenance.update(tmp_path, RUN, error=None)
    assert provenance.read(tmp_path)["status"] == "trained"
    other = Run("experiment", "digits", "small", 1, "digits", {}, "resnet", {"depth": 8}, Recipe())
    provenance.update(tmp_path, other, error=None)
    assert "status" not in provenance.read(tmp_path)


@pytest.mark.parametrize("content", ['{"status": "trai', "[]", ""])
def test_a_damaged_file_is_never_silently_replaced(tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    assert provenance.read(tmp_path) == {}
    with pytest.raises(UserError, match=r"run\.json is damaged\. Delete it"):
        provenance.update(tmp_path, RUN, status="trained")
    assert (tmp_path / "run.json").read_text() == content


def counter(folder: Path, name: str, microjoules: int, span: int = 10**9) -> None:
    (folder / name).mkdir(exist_ok=True)
    (folder / name / "energy_uj").write_text(f"{microjoules}\n")
    (folder / name / "max_energy_range_uj").write_text(f"{span}\n")


def test_energy_is_that_of_all_processors_since_the_last_call(tmp_path):
    for name in ("intel-rapl:0", "intel-rapl:0:0", "intel-rapl:1"):  # the one in the middle is a part of the first
        counter(tmp_path, name, 5_000_000)
    meter = EnergyMeter(torch.device("cpu"), tmp_path)
    assert meter.joules() == {"cpu": 0}
    for name in ("intel-rapl:0", "intel-rapl:0:0", "intel-rapl:1"):
        counter(tmp_path, name, 7_500_000)
    assert meter.joules() == {"cpu": 5}
    assert meter.joules() == {"cpu": 0}


def test_a_counter_that_began_anew_is_read_on(tmp_path):
    counter(tmp_path, "intel-rapl:0", 999_000_000)
    meter = EnergyMeter(torch.device("cpu"), tmp_path)
    counter(tmp_path, "intel-rapl:0", 2_000_000)
    assert math.isclose(meter.joules()["cpu"], 3)


@pytest.mark.parametrize(("slots", "spent"), [("1", {"gpu": 2.0}), ("4", {})])
def test_a_gpu_that_runs_share_says_nothing_of_one_of_them(slots, spent, tmp_path, monkeypatch):
    monkeypatch.setenv("DYNALAY_SLOTS_PER_GPU", slots)
    readings = iter([1000, 3000])
    monkeypatch.setattr("benchmark.training.energy._nvml_device", lambda device: "a GPU")
    monkeypatch.setattr("pynvml.nvmlDeviceGetTotalEnergyConsumption", lambda gpu: next(readings))
    assert EnergyMeter(torch.device("cuda"), tmp_path).joules() == spent


def test_a_device_that_does_not_tell_is_left_out(tmp_path):
    assert EnergyMeter(torch.device("cpu"), tmp_path / "nowhere").joules() == {}
    (tmp_path / "intel-rapl:0").mkdir()
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("garbage")
    assert EnergyMeter(torch.device("cpu"), tmp_path).joules() == {}
