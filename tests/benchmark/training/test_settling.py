"""Settling: what a method fits after its last training step is counted, timed, and repeats when interrupted."""

import os
import signal
from typing import Any

import pandas as pd
import pytest
import torch

from benchmark.data import Dataset, Split
from benchmark.experiment.configuration import Recipe
from benchmark.training.batches import TrainingBatches, divided
from benchmark.training.distributed import ALONE
from benchmark.training.streams import Streams
from dynalay.dynalay import DynaLay
from tests.benchmark.miniature import TOTAL, Miniature

CHANGES: dict[str, Any] = {
    "methods/network/kind": "dynalay",
    "methods/network/parameters": {
        "layers": [1, 1], "channels": [4, 6], "strides": [1, 2], "points": 2, "controls": False,
        "agent_samples": 40, "agent_steps": 5,
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


@pytest.mark.parametrize("batches", [0, 1])
def test_a_training_stopped_while_it_settles_starts_that_again(undisturbed, disturbed, monkeypatch, capsys, batches):
    """The signal comes before anything is read, or with the first batch of what was held out."""
    settle = DynaLay.settle
    sent: list[int] = []

    def settle_and_send(self: DynaLay, given: Any, unseen: Any, generator: torch.Generator) -> int:
        def send_after(read: int) -> None:
            if read == batches and not sent:
                sent.append(read)
                os.kill(os.getpid(), signal.SIGTERM)

        class Reading:
            count = 0

            def __iter__(self) -> Any:
                for batch in unseen:
                    self.count += 1
                    send_after(self.count)
                    yield batch

        send_after(0)
        return settle(self, given, Reading(), generator)

    monkeypatch.setattr(DynaLay, "settle", settle_and_send)
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
    monkeypatch.setattr(DynaLay, "settle", lambda *arguments: 0)
    assert disturbed("train") == 0
    settled, unsettled = (pd.read_csv(each.run / "history.csv") for each in (undisturbed, disturbed))
    assert settled["training_macs"][:-1].tolist() == unsettled["training_macs"][:-1].tolist()
    assert settled["training_macs"].iloc[-1] > unsettled["training_macs"].iloc[-1]
    assert settled["training_macs"].iloc[-1] == undisturbed.run_json()["training_macs"]
    assert undisturbed.run_json()["training_seconds"] == pytest.approx(settled["seconds"].iloc[-1], abs=0.06)


def test_a_method_settles_once_in_evaluation_mode_on_what_was_learnt_and_on_what_was_held_out(
    tmp_path, undisturbed, monkeypatch
):
    found: list[tuple[bool, list[torch.Tensor]]] = []

    def settle(self: DynaLay, batches: Any, unseen: Any, generator: torch.Generator) -> int:
        readings = [torch.cat([images for images, _ in each]) for each in (batches, batches, unseen)]
        found.append((self.training, readings))
        return 0

    monkeypatch.setattr(DynaLay, "settle", settle)
    monkeypatch.setattr("benchmark.training.batches.EVALUATION_IMAGES", 24)
    plain = CHANGES | {"recipe/augmentation": {}}
    assert Miniature(tmp_path, undisturbed.data, plain)("train") == 0
    ((training, (first, second, unseen)),) = found
    assert not training
    assert not torch.equal(first, second), "another order"

    def distinct(images: torch.Tensor) -> set[bytes]:
        return {image.numpy().tobytes() for image in images}

    assert distinct(first) == distinct(second)
    assert not distinct(first) & distinct(unseen)
    assert len(unseen) == 3, "a twentieth, rounded"
    assert len(distinct(first)) + len(distinct(unseen)) == len(first) + len(unseen) == 64


def test_a_method_that_holds_nothing_out_settles_on_the_rest(tmp_path, undisturbed):
    """Under augmentation, which a batch without samples would not survive."""
    parameters = {"methods/network/parameters": CHANGES["methods/network/parameters"] | {"held_out": 0.0}}
    miniature = Miniature(tmp_path, undisturbed.data, CHANGES | parameters | {"recipe/augmentation": {"crop": 1}})
    assert miniature("train") == 0


def test_training_gets_nothing_of_what_is_held_out_and_takes_as_many_steps():
    images, labels = torch.zeros(64, 1, 4, 4, dtype=torch.uint8), torch.arange(64)
    split = Split(images, labels, torch.zeros(64))
    dataset = Dataset("mine", ("a", "b"), (0.5,), (0.5,), split, split, split, None, "fingerprint")
    for held_out, repeated in ((0.0, 0), (0.25, 16), (0.75, 48)):
        streams = Streams(3, torch.device("cpu"))
        learnt, unseen = divided(dataset, streams, held_out)
        assert sorted([*learnt.tolist(), *unseen.tolist()]) == list(range(64))
        batches = TrainingBatches(dataset, Recipe(batch_size=16), streams, torch.device("cpu"), ALONE, held_out)
        assert batches.steps == 64 // 16
        drawn = torch.cat([labels for _, labels in batches.rest_of_epoch(0)]).tolist()
        assert len(drawn) == 64
        assert set(drawn) == set(learnt.tolist())
        first = 64 - repeated
        assert len(set(drawn[:first])) == first
        assert drawn[first:] == (drawn[:first] * 3)[:repeated]


def test_streams_of_settling_are_the_runs_own():
    streams = [Streams(seed, torch.device("cpu")) for seed in (0, 0, 1)]
    draws = [torch.rand(4, generator=each.settling()).tolist() for each in streams]
    orders = [each.settling_order(50, 0).tolist() for each in streams]
    assert draws[0] == draws[1] != draws[2]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == list(range(50))
    assert streams[0].settling_order(50, 1).tolist() != orders[0]
