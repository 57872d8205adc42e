"""One run shared by two processes: it ends like that of one, and stops and goes on as one."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from benchmark.commands import train as command
from benchmark.errors import UserError
from benchmark.training import checkpoint, loop
from benchmark.training.distributed import ALONE, Team
from benchmark.training.streams import Streams
from tests.benchmark.miniature import Miniature

# Without an FPI layer nothing is sampled, and plain SGD does not magnify differences in rounding.
SAMPLES_NOTHING = {
    "methods/network/parameters/fpi": [False],
    "recipe/optimizer": "sgd",
    "recipe/learning_rate": 0.05,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("data")


def without_batch_norm(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, nn.GroupNorm(1, child.num_features))
        else:
            without_batch_norm(child)


def build_without_batch_norm(*arguments: Any) -> Any:
    model = _build(*arguments)
    without_batch_norm(model)
    return model


_build, _train, _seek = loop.build_model, loop.train, Streams.seek


def without_batch_normalisation() -> None:
    loop.build_model = build_without_batch_norm  # type: ignore[assignment]


def keeping_every_model() -> None:
    """Also a process that does not write the run's model leaves the one it has."""

    def train(*arguments: Any) -> Any:
        model, progress = _train(*arguments)
        torch.save(model.state_dict(), arguments[2].parent / f"rank{os.environ['RANK']}.pt")
        return model, progress

    command.train = train  # type: ignore[assignment]


def told_to_stop_in_one_process() -> None:
    def seek(self: Streams, step: int) -> None:
        _seek(self, step)
        if step == 5 and os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGTERM)

    Streams.seek = seek  # type: ignore[method-assign]


def start(miniature: Miniature, prepare: Callable[[], None] | None = None, size: int = 2) -> list[ForkServerProcess]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(size),
        "LOCAL_WORLD_SIZE": str(size),
    }
    return [
        miniature.start("train", environment=common | {"RANK": str(rank), "LOCAL_RANK": str(rank)}, prepare=prepare)
        for rank in range(size)
    ]


def statuses(processes: list[ForkServerProcess]) -> list[int | None]:
    for process in processes:
        process.join(300)
    return [process.exitcode for process in processes]


def test_two_processes_end_like_one(tmp_path, data, monkeypatch):
    alone = Miniature(tmp_path / "alone", data, SAMPLES_NOTHING)
    together = Miniature(tmp_path / "together", data, SAMPLES_NOTHING)
    processes = start(together, without_batch_normalisation)
    monkeypatch.setattr(loop, "build_model", build_without_batch_norm)
    assert alone("train") == 0
    assert statuses(processes) == [0, 0], together.log(0) + together.log(1)
    ours, theirs = (load_file(one.run / "model.safetensors") for one in (together, alone))
    initial = loop.build_model(*_of(alone)).state_dict()
    moved = {name for name, value in theirs.items() if not torch.equal(value, initial[name])}
    assert any(name.startswith("network.stem") for name in moved)
    for name, value in theirs.items():
        assert torch.allclose(ours[name], value, rtol=1e-4, atol=1e-6), name
    assert torch.allclose(torch.tensor(together.history()["loss"]), torch.tensor(alone.history()["loss"]), rtol=1e-5)
    assert together.run_json()["training_macs"] == alone.run_json()["training_macs"]
    assert (together.run_json()["processes"], alone.run_json()["processes"]) == (2, 1)
    assert together.log(1) == ""  # one of them speaks for both


def _of(miniature: Miniature) -> tuple[Any, Any, torch.device]:
    """The arguments of `build_model`."""
    from benchmark import data as datasets
    from benchmark.experiment import configuration

    run = configuration.load(miniature.config).run("digits", "network", 0)
    return run, datasets.load(run.dataset_kind, run.dataset_parameters, miniature.data), torch.device("cpu")


def test_all_processes_hold_the_same_model_running_statistics_included(tmp_path, data):
    miniature = Miniature(tmp_path, data)  # with batch normalisation, and what an agent samples
    processes = start(miniature, keeping_every_model)
    assert statuses(processes) == [0, 0], miniature.log(0) + miniature.log(1)
    first, second = (torch.load(miniature.run.parent / f"rank{rank}.pt") for rank in (0, 1))
    assert any("running_var" in name for name in first)
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def test_told_to_stop_in_one_process_all_stop_and_go_on_together(tmp_path, data, capsys):
    undisturbed, disturbed = Miniature(tmp_path / "undisturbed", data), Miniature(tmp_path / "disturbed", data)
    processes = start(undisturbed)
    stopped = start(disturbed, told_to_stop_in_one_process)
    assert statuses(stopped) == [75, 75], disturbed.log(0) + disturbed.log(1)
    assert "stopped after step 6" in disturbed.log(0)
    assert disturbed.run_json()["status"] == "preempted"
    assert disturbed("train") == 2  # one process alone must not go on with what two have begun
    assert "processes: 2 in the checkpoint, 1 now" in capsys.readouterr().err
    assert statuses(start(disturbed)) == [0, 0], disturbed.log(0) + disturbed.log(1)
    assert "resuming at step 6" in disturbed.log(0)
    assert statuses(processes) == [0, 0]
    assert (disturbed.run / "model.safetensors").read_bytes() == (undisturbed.run / "model.safetensors").read_bytes()
    assert disturbed.history().equals(undisturbed.history())


def test_together_they_set_aside_a_checkpoint_of_another_configuration_once(tmp_path, data):
    miniature = Miniature(tmp_path, data, {"recipe/epochs": 1})
    miniature.run.mkdir(parents=True)
    checkpoint.save(miniature.run / "checkpoint.pt", checkpoint.Identity({"seed": 7}, {}), {})
    assert statuses(start(miniature)) == [0, 0], miniature.log(0) + miniature.log(1)
    assert miniature.log(0).count("belongs to another configuration") == 1
    assert miniature.log(1) == ""
    assert len(list(miniature.run.glob("checkpoint-*.pt"))) == 1


def test_a_batch_is_shared_equally_or_not_at_all():
    rows = list(range(12))
    assert [rows[Team(rank, 3).part(12)] for rank in range(3)] == [rows[:4], rows[4:8], rows[8:]]
    with pytest.raises(
        UserError, match=r"a batch of 16 cannot be shared equally by 3 processes; choose a multiple of 3"
    ):
        Team(0, 3).part(16)


def test_a_process_alone_has_nothing_to_average():
    values = [torch.ones(2)]
    ALONE.average(values)
    assert values[0].tolist() == [1, 1]
    assert ALONE.synchronise(nn.Linear(1, 1), stop=True)
    assert not ALONE.synchronise(nn.Linear(1, 1), stop=False)


@pytest.mark.slow
def test_torchrun_starts_it(tmp_path, data):
    miniature = Miniature(tmp_path, data, {"recipe/epochs": 1})
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "benchmark",
    ]
    finished = subprocess.run(
        command + miniature.arguments("train"), capture_output=True, text=True, cwd=Path(__file__).parents[3]
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.count("epoch 1/1") == 1
    assert miniature.run_json()["processes"] == 2
    assert miniature("evaluate") == 0
