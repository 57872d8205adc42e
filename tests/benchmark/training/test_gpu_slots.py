"""GPU slots, with real processes and imagined GPUs."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pynvml
import pytest

from benchmark.errors import UserError
from benchmark.training.gpu_slots import gpu_slot
from benchmark.training.gpus import installed_gpus, visible_gpus

HOLD = """
import sys
from benchmark.training.gpu_slots import gpu_slot
with gpu_slot(poll_seconds=0.02):
    import os
    print(os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
    sys.stdin.read()
"""


DRIVER = """
class NVMLError(Exception): ...
class NVMLError_LibraryNotFound(NVMLError): ...
def nvmlInit(): ...
def nvmlDeviceGetCount(): return 2
def nvmlDeviceGetHandleByIndex(index): return index
def nvmlDeviceGetUUID(handle): return ("GPU-a1", "GPU-b2")[handle]
"""


@pytest.fixture(autouse=True)
def own_machine(tmp_path, monkeypatch):
    """Slots of this test alone, on a machine with the GPUs a and b."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "a,b")
    monkeypatch.delenv("DYNALAY_SLOTS_PER_GPU", raising=False)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    installed_gpus.cache_clear()
    yield
    installed_gpus.cache_clear()


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """A driver that shows two GPUs, to this process and those that it starts."""
    (tmp_path / "pynvml.py").write_text(DRIVER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    namespace: dict[str, Any] = {}
    exec(DRIVER, namespace)
    for name in ("nvmlInit", "nvmlDeviceGetCount", "nvmlDeviceGetHandleByIndex", "nvmlDeviceGetUUID"):
        monkeypatch.setattr(pynvml, name, namespace[name])


@pytest.fixture
def holder():
    """Start processes that hold a slot until their standard input ends."""
    started = []

    def start() -> subprocess.Popen[str]:
        root = Path(__file__).parents[3]
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=root,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_each_process_sees_a_gpu_of_its_own(holder):
    first, second = holder(), holder()
    assert {first.stdout.readline().strip(), second.stdout.readline().strip()} == {"a", "b"}


@pytest.mark.parametrize("death", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_process_frees_its_slot(holder, death):
    first, second = holder(), holder()
    freed = first.stdout.readline()
    second.stdout.readline()
    waiting = holder()
    assert "2 x 1 GPU slots are taken" in waiting.stderr.readline()
    first.send_signal(death)
    assert waiting.stdout.readline() == freed


def test_several_runs_share_a_gpu_only_when_told_to_and_the_emptiest_comes_first(holder, monkeypatch):
    monkeypatch.setenv("DYNALAY_SLOTS_PER_GPU", "2")
    seen = [holder().stdout.readline().strip() for _ in range(4)]
    assert seen == ["a", "b", "a", "b"]
    assert "2 x 2" in holder().stderr.readline()


def test_the_environment_is_put_back():
    with gpu_slot() as gpu:
        assert os.environ["CUDA_VISIBLE_DEVICES"] == gpu == "a"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "a,b"
    assert visible_gpus() == ["a", "b"]


def test_allocations_of_slurm_do_not_wait_for_each_other(holder, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    first = holder()
    assert first.stdout.readline() == "0\n"
    monkeypatch.setenv("SLURM_JOB_ID", "2")
    with gpu_slot() as gpu:
        assert gpu == "0"


def test_a_part_of_a_gpu_has_a_slot_of_its_own_also_with_slashes_in_its_name(holder, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-GPU-1/1/0,MIG-GPU-1/2/0")
    first, second = holder(), holder()
    assert {first.stdout.readline(), second.stdout.readline()} == {"MIG-GPU-1/1/0\n", "MIG-GPU-1/2/0\n"}


@pytest.mark.parametrize("nothing", ["", "-1"])
def test_no_slot_where_no_gpu_is_visible_or_wanted(monkeypatch, nothing):
    with gpu_slot("cpu") as gpu:
        assert gpu is None
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", nothing)
    with gpu_slot() as gpu:
        assert gpu is None


def test_gpus_are_found_by_uuid_without_cuda(driver, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert visible_gpus() == ["GPU-a1", "GPU-b2"]
    with gpu_slot() as gpu:
        assert gpu == "GPU-a1"
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("0", ["GPU-a1"]),
        ("1, 0", ["GPU-b2", "GPU-a1"]),
        ("GPU-b", ["GPU-b2"]),
        ("GPU-b2", ["GPU-b2"]),
        ("GPU-", ["GPU-"]),  # of neither in particular
        ("7", ["7"]),
        ("MIG-GPU-a1/1/0", ["MIG-GPU-a1/1/0"]),
    ],
)
def test_a_gpu_has_one_name_whoever_names_it(driver, monkeypatch, given, expected):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert visible_gpus() == expected


def test_a_number_and_a_uuid_never_book_one_gpu_twice(driver, holder, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    by_number = holder()
    assert by_number.stdout.readline() == "GPU-a1\n"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    by_pipeline = holder()
    assert by_pipeline.stdout.readline() == "GPU-b2\n"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a1")
    assert "1 x 1 GPU slots are taken" in holder().stderr.readline()


@pytest.mark.parametrize(("error", "warned"), [("LibraryNotFound", False), ("DriverNotLoaded", True)])
def test_a_driver_that_fails_is_reported_and_a_machine_without_one_is_not(monkeypatch, capsys, error, warned):
    def fail() -> None:
        raise getattr(pynvml, f"NVMLError_{error}")

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(pynvml, "nvmlInit", fail)
    assert visible_gpus() == []
    assert ("warning: NVIDIA's driver fails" in capsys.readouterr().err) == warned


@pytest.mark.parametrize("given", ["0", "two", "-1", "1.5"])
def test_a_nonsensical_number_of_slots_is_refused(monkeypatch, given):
    monkeypatch.setenv("DYNALAY_SLOTS_PER_GPU", given)
    with pytest.raises(UserError, match=f"DYNALAY_SLOTS_PER_GPU is '{given}'"), gpu_slot():
        pass
