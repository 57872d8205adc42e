"""Settling: what a method fits after its last training step is counted, timed, and repeats when interrupted."""

import os
import signal
from typing import Any

import pandas as pd
import pytest
import torch

from benchmark.training.streams import Streams
from dynalay.dynalay import DynaLay
from dynalay.selecting import Selecting
from tests.benchmark.miniature import TOTAL, Miniature

CHANGES: dict[str, Any] = {
    "methods/network/kind": "selecting",
    "methods/network/parameters": {
        "layers": [1, 1], "channels": [4, 6], "strides": [1, 2], "points": 2, "controls": False,
        "agent_images": 40, "agent_forks": 2, "agent_steps": 5,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Miniature:
    folder = tmp_path_factory.mktemp("undisturbed")
    miniature = Miniature(folder, folder / "data", CHANGES)
    assert miniature("train") == 0
    assert miniature("evaluate") == 0
    return miniature


@pytest.fixture
def disturbed(undisturbed, tmp_path) -> Miniature:
    return Miniature(tmp_path, undisturbed.data, CHANGES)


@pytest.mark.parametrize("batches", [0, 3])
def test_a_training_stopped_while_it_settles_starts_that_again(undisturbed, disturbed, monkeypatch, capsys, batches):
    """The signal comes before the first batch, or between two readings of them."""
    settle = Selecting.settle
    sent: list[int] = []

    def settle_and_send(self: Selecting, given: Any, generator: torch.Generator) -> int:
        def send_after(read: int) -> None:
            if read == batches and not sent:
                sent.append(read)
                os.kill(os.getpid(), signal.SIGTERM)

        class Reading:
            count = 0

            def __iter__(self) -> Any:
                for batch in given:
                    self.count += 1
                    send_after(self.count)
                    yield batch

        send_after(0)
        return settle(self, Reading(), generator)

    monkeypatch.setattr(Selecting, "settle", settle_and_send)
    assert disturbed("train") == 75
    assert "stopped after the last training step; run the same command to resume" in capsys.readouterr().err
    assert disturbed.run_json()["status"] == "preempted"
    assert disturbed("train") == 0
    assert f"resuming at step {TOTAL}" in capsys.readouterr().out
    assert disturbed("evaluate") == 0
    assert disturbed.outcome() == undisturbed.outcome()
    pd.testing.assert_frame_equal(disturbed.history(), undisturbed.history())
    assert disturbed.run_json()["training_macs"] == undisturbed.run_json()["training_macs"]


def test_its_macs_and_its_time_belong_to_the_training(undisturbed, disturbed, monkeypatch):
    monkeypatch.setattr(Selecting, "settle", lambda *arguments: 0)
    assert disturbed("train") == 0
    settled, unsettled = (pd.read_csv(each.run / "history.csv") for each in (undisturbed, disturbed))
    assert settled["training_macs"][:-1].tolist() == unsettled["training_macs"][:-1].tolist()
    assert settled["training_macs"].iloc[-1] > unsettled["training_macs"].iloc[-1]
    assert settled["training_macs"].iloc[-1] == undisturbed.run_json()["training_macs"]
    assert undisturbed.run_json()["training_seconds"] == pytest.approx(settled["seconds"].iloc[-1], abs=0.06)


def test_a_method_settles_once_in_evaluation_mode_on_all_training_images_as_they_are(
    tmp_path, undisturbed, monkeypatch
):
    seen: list[tuple[bool, list[torch.Tensor], list[torch.Tensor]]] = []

    def settle(self: DynaLay, batches: Any, generator: torch.Generator) -> int:
        first, second = (torch.cat([images for images, _ in batches]) for _ in range(2))
        seen.append((self.training, [first], [second]))
        return 0

    monkeypatch.setattr(DynaLay, "settle", settle)
    monkeypatch.setattr("benchmark.training.batches.EVALUATION_IMAGES", 24)
    assert Miniature(tmp_path, undisturbed.data)("train") == 0
    ((training, first, second),) = seen
    assert not training
    assert torch.equal(first[0], second[0]), "every reading gives the same"
    assert len(first[0].flatten(1).unique(dim=0)) == len(first[0]) == 64


def test_streams_of_settling_are_the_runs_own():
    streams = [Streams(seed, torch.device("cpu")) for seed in (0, 0, 1)]
    draws = [torch.rand(4, generator=each.settling()).tolist() for each in streams]
    orders = [each.settling_order(50).tolist() for each in streams]
    assert draws[0] == draws[1] != draws[2]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == list(range(50))
