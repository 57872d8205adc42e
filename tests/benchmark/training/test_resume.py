"""A training that was stopped or killed, wherever, ends with the bytes of one that was not."""

import os
import random
import signal
import time
from collections import Counter

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from benchmark.training.streams import Streams
from dynalay.classifier import AdaptiveClassifier
from tests.benchmark.miniature import STEPS, TOTAL, Miniature


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Miniature:
    folder = tmp_path_factory.mktemp("undisturbed")
    miniature = Miniature(folder, folder / "data")
    assert miniature("train") == 0
    assert miniature("evaluate") == 0
    return miniature


@pytest.fixture
def disturbed(undisturbed, tmp_path) -> Miniature:
    return Miniature(tmp_path, undisturbed.data)


def assert_same(disturbed: Miniature, undisturbed: Miniature) -> None:
    assert disturbed.outcome() == undisturbed.outcome()
    pd.testing.assert_frame_equal(disturbed.history(), undisturbed.history())
    names = {path.name for path in disturbed.run.iterdir()}
    model = {"config.json", "model.safetensors"}
    results = {"run.json", "history.csv", "costs.json", "records.parquet", "decisions.parquet"}
    assert names == {".lock", *model, *results}


def kill_after_an_epoch(miniature: Miniature) -> None:
    process = miniature.start("train")
    while not (miniature.run / "checkpoint.pt").exists():
        assert process.exitcode is None, miniature.log()
        time.sleep(0.001)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def send_at(step: int, number: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the process get a signal when it begins an optimiser step, once."""
    seek = Streams.seek
    sent: list[int] = []

    def seek_and_send(self: Streams, at: int) -> None:
        seek(self, at)
        if at == step and not sent:
            sent.append(at)
            os.kill(os.getpid(), number)

    monkeypatch.setattr(Streams, "seek", seek_and_send)


@pytest.mark.parametrize(
    ("step", "number"),
    [
        (1, signal.SIGTERM),
        (STEPS - 1, signal.SIGTERM),  # the last step of an epoch, whose row of the history must not be lost
        (2 * STEPS, signal.SIGUSR1),  # the first
    ],
)
def test_a_stopped_training_goes_on_where_it_was(undisturbed, disturbed, monkeypatch, capsys, step, number):
    send_at(step, number, monkeypatch)
    assert disturbed("train") == 75
    assert f"stopped after step {step + 1} of {TOTAL}; run the same command to resume" in capsys.readouterr().err
    assert disturbed.run_json()["status"] == "preempted"
    assert not (disturbed.run / "model.safetensors").exists()
    assert disturbed("train") == 0
    assert f"resuming at step {step + 1}" in capsys.readouterr().out
    assert disturbed.run_json()["preemptions"] == 1
    assert disturbed("evaluate") == 0
    assert_same(disturbed, undisturbed)


def test_a_resumed_training_computes_with_the_threads_it_began_with(undisturbed, disturbed, monkeypatch, capsys):
    send_at(STEPS, signal.SIGTERM, monkeypatch)
    assert disturbed("train") == 75
    assert disturbed("train", "--threads", "2") == 0
    assert "computing with 1 threads, as it began, not 2" in capsys.readouterr().out
    assert disturbed.run_json()["training_threads"] == 1
    assert disturbed("evaluate") == 0
    assert_same(disturbed, undisturbed)


def test_a_signal_in_the_last_step_lets_the_training_end(undisturbed, disturbed, monkeypatch):
    send_at(TOTAL - 1, signal.SIGTERM, monkeypatch)
    assert disturbed("train") == 0
    assert disturbed("evaluate") == 0
    assert_same(disturbed, undisturbed)


def test_a_killed_training_goes_on_from_its_last_epoch(undisturbed, disturbed):
    kill_after_an_epoch(disturbed)
    assert disturbed("train") == 0
    assert disturbed("evaluate") == 0
    assert_same(disturbed, undisturbed)


def test_what_a_killed_writer_left_is_no_result_and_is_removed(undisturbed, disturbed):
    disturbed.run.mkdir(parents=True)
    leftovers = [disturbed.run / f".{name}" for name in ("model-ab_d3f9h.safetensors", "checkpoint-12345678.pt")]
    for leftover in leftovers:
        leftover.write_bytes((undisturbed.run / "model.safetensors").read_bytes())
    assert disturbed("evaluate") == 2
    assert not any(leftover.exists() for leftover in leftovers)
    assert disturbed("train") == 0
    assert disturbed("evaluate") == 0
    assert_same(disturbed, undisturbed)


def test_a_run_s_folder_is_a_saved_model(undisturbed):
    model = AdaptiveClassifier.from_pretrained(undisturbed.run)
    assert type(model).__name__ == "Workshop"
    weights = load_file(undisturbed.run / "model.safetensors")
    assert weights.keys() == model.state_dict().keys()
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())


def test_a_trained_run_is_left_as_it_is_until_told_otherwise(undisturbed, disturbed, capsys):
    assert disturbed("train") == 0
    before = (disturbed.run / "model.safetensors").stat().st_mtime_ns
    assert disturbed("train") == 0
    assert "already trained" in capsys.readouterr().out
    assert (disturbed.run / "model.safetensors").stat().st_mtime_ns == before
    assert disturbed("train", "--restart") == 0
    assert (disturbed.run / "model.safetensors").stat().st_mtime_ns > before
    assert disturbed("evaluate") == 0
    assert_same(disturbed, undisturbed)


def test_results_of_another_configuration_do_not_survive_a_training(disturbed):
    assert disturbed("train") == 0
    assert disturbed("evaluate") == 0
    old = disturbed.outcome()
    other = Miniature(disturbed.config.parent, disturbed.data, {"recipe/epochs": 2})
    kill_after_an_epoch(other)
    # Killed after it has begun: the old model, whole as it is, must not be taken for the new one's.
    assert not (other.run / "records.parquet").exists()
    assert other("train") == 0
    assert other("evaluate") == 0
    assert other.outcome()[0] != old[0]


def kill_somewhere(miniature: Miniature, chance: random.Random, epoch: float) -> int | None:
    """Start a training, and kill it after a few epochs and a moment, or at its end; returns its exit status.

    The moment is a random part of `epoch`, the seconds that an epoch takes here, so that a fast machine gets no
    further than a slow one.
    """
    before = miniature.log().count("loss")
    last = chance.random() < 1 / 5
    epochs = chance.randint(0, EPOCHS // 4)
    process = miniature.start("train")
    while process.exitcode is None:
        log = miniature.log()
        if f"epoch {EPOCHS}/{EPOCHS}" in log if last else log.count("loss") >= before + epochs:
            break
        time.sleep(0.001)
    time.sleep(chance.uniform(0, 1.5) * epoch)
    chance.choice([process.kill, process.terminate])()
    process.join()
    return process.exitcode


def test_the_checkpoint_of_a_training_killed_at_its_very_end_is_removed(disturbed, capsys):
    assert disturbed("train") == 0
    checkpoint = disturbed.run / "checkpoint.pt"
    checkpoint.write_bytes(b"left between the model and the removal")
    assert disturbed("train") == 0
    assert "already trained" in capsys.readouterr().out
    assert not checkpoint.exists()


EPOCHS = 12  # of the trainings that are killed at random


@pytest.mark.slow
@pytest.mark.parametrize("trainings", [8, pytest.param(30, marks=pytest.mark.thorough)])
def test_trainings_killed_at_random_instants_end_alike(undisturbed, tmp_path, trainings):
    """Each is killed up to three times, by SIGKILL or SIGTERM, while it starts or trains."""
    chance = random.Random(0)
    longer = {"recipe/epochs": EPOCHS}
    reference = Miniature(tmp_path / "reference", undisturbed.data, longer)
    assert reference("train") == 0
    assert reference("evaluate") == 0
    epoch = reference.run_json()["training_seconds"] / EPOCHS
    endings: Counter[int | None] = Counter()
    resumed = 0
    for number in range(trainings):
        disturbed = Miniature(tmp_path / str(number), undisturbed.data, longer)
        endings.update(kill_somewhere(disturbed, chance, epoch) for _ in range(chance.randint(1, 3)))
        assert disturbed("train") == 0
        assert disturbed("evaluate") == 0
        assert_same(disturbed, reference)
        resumed += disturbed.run_json()["preemptions"]
    assert endings.keys() <= {0, 75, -signal.SIGKILL, -signal.SIGTERM}
    assert endings[-signal.SIGKILL] > trainings / 3, endings
    assert endings[75] > trainings / 3, endings  # stopped while training, with a checkpoint
    assert resumed > 2 * trainings / 3
