"""Everything that may be wrong: one message that says what, where and what to do, and an exit status that is not 0."""

import errno
import fcntl
import os
import resource
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmark import data as datasets
from benchmark import files
from benchmark.__main__ import main
from benchmark.experiment import configuration
from benchmark.training import checkpoint
from dynalay.workshop import Workshop
from tests.benchmark.miniature import TOTAL, Miniature

PARAMETERS = "methods/network/parameters"


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def trained(tmp_path_factory, data) -> Path:
    """The results of one training, to be copied and spoilt."""
    miniature = Miniature(tmp_path_factory.mktemp("trained"), data, {"recipe/epochs": 1})
    assert miniature("train") == 0
    return miniature.results


@pytest.fixture
def spoilable(trained, data, tmp_path) -> Miniature:
    miniature = Miniature(tmp_path, data, {"recipe/epochs": 1})
    shutil.copytree(trained, miniature.results)
    return miniature


@pytest.fixture
def reported(capsys) -> Callable[[], str]:
    """The one message on stderr; there must be nothing else, and no traceback."""

    def reported() -> str:
        lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("warning: the code")]
        assert lines[0].startswith("error: ")
        assert not any("Traceback" in line or line.startswith("error: ") for line in lines[1:])
        return "\n".join(lines)

    return reported


def test_a_mistake_in_the_configuration(tmp_path, data, reported):
    assert Miniature(tmp_path, data, {"recipe/epoch": 3})("train") == 2
    assert "miniature.yaml:\n  recipe.epoch: unknown key. Did you mean 'epochs'?" in reported()


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--dataset", "digit", "has no dataset 'digit'. Did you mean 'digits'?"),
        ("--method", "networks", "has no method 'networks'. Did you mean 'network'?"),
        ("--seed", "7", "has no seed 7; its seeds are (0,)"),
    ],
)
def test_a_run_that_the_experiment_does_not_have(tmp_path, data, reported, option, value, message):
    arguments = Miniature(tmp_path, data).arguments("train")
    arguments[arguments.index(option) + 1] = value
    assert main(arguments) == 2
    assert message in reported()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({f"{PARAMETERS}/strides": [1, 2]}, "must have one entry per layer"),
        ({f"{PARAMETERS}/fpi": [True, True]}, "must have one entry per layer"),
        ({"methods/network": {"kind": "resnet", "parameters": {"depth": 9}}}, "depth=9 is not 6n + 2"),
    ],
)
def test_parameters_that_do_not_go_together_are_found_before_anything_is_trained(
    tmp_path, data, reported, changes, message
):
    miniature = Miniature(tmp_path, data, changes)
    assert main(["check", "--config", str(miniature.config), "--dataset", "digits", "--data", str(data)]) == 2
    checked = reported()
    assert message in checked
    assert "these methods do not work:\n  network" in checked
    assert miniature("train") == 2
    assert message in reported()
    assert message in miniature.run_json()["error"]


def test_check_looks_at_all_methods(tmp_path, data, capsys):
    methods: dict[str, Any] = {"network": {"kind": "resnet", "parameters": {"depth": 8}}}
    miniature = Miniature(tmp_path, data, {"methods": methods})
    arguments = ["check", "--config", str(miniature.config), "--dataset", "digits", "--data", str(data)]
    assert main(arguments) == 0
    assert "digits: all 1 methods work on images (1, 8, 8)" in capsys.readouterr().out
    wrong = {"kind": "resnet", "parameters": {"depth": 9}}
    Miniature(tmp_path, data, {"methods": methods | {"a": wrong, "b": wrong}})
    assert main(arguments) == 2
    message = capsys.readouterr().err
    assert "\n  a (resnet) on digits: depth=9" in message
    assert "\n  b (resnet) on digits: depth=9" in message


@pytest.mark.parametrize("verb", ["train", "evaluate", "latency", "check", "estimate"])
def test_every_verb_that_computes_takes_a_number_of_threads(verb, capsys):
    with pytest.raises(SystemExit):
        main([verb, "--threads", "0"])
    assert "argument --threads: 0 is not 1 or more" in capsys.readouterr().err


def test_a_loss_that_is_no_number(tmp_path, data, reported):
    miniature = Miniature(tmp_path, data, {"recipe/learning_rate": 1e30, "recipe/gradient_clip": None})
    assert miniature("train") == 2
    message = reported()
    assert "the loss of digits/network/seed0 is nan in epoch" in message
    assert "lower learning_rate (now 1e+30) or gradient_clip (now None)" in message
    assert miniature.run_json()["status"] == "failed"
    assert "the loss of" in miniature.run_json()["error"]
    assert not (miniature.run / "model.safetensors").exists()


@pytest.mark.parametrize("verb", ["train", "evaluate"])
def test_too_little_memory(spoilable, reported, monkeypatch, verb):
    if verb == "train":
        shutil.rmtree(spoilable.run)

    def too_much(*arguments: Any) -> None:
        torch.empty(10**15)

    monkeypatch.setattr(Workshop, {"train": "training_loss", "evaluate": "classify"}[verb], too_much)
    assert spoilable(verb) == 2
    message = reported()
    assert "digits/network/seed0 ran out of memory" in message
    assert "fewer runs share the device" in message
    # How many images are evaluated at once does not depend on the recipe.
    assert ("lower batch_size (now 16)" in message) == (verb == "train")
    assert ("--device cpu" in message) == (verb == "evaluate")
    assert spoilable.run_json()["status"] == "failed"


def test_cuda_reports_too_little_memory_in_its_own_way(spoilable, reported, monkeypatch):
    def too_much(*arguments: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    shutil.rmtree(spoilable.run)
    monkeypatch.setattr(Workshop, "training_loss", too_much)
    assert spoilable("train") == 2
    assert "ran out of memory (OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 GiB.)" in reported()


def test_a_gpu_that_is_not_there(tmp_path, data, reported, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "99")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    miniature = Miniature(tmp_path, data, {"recipe/epochs": 1})
    assert miniature("train", "--device", "cuda") == 2
    message = reported()
    assert "--device cuda: torch finds no GPU that it can use (CUDA_VISIBLE_DEVICES=99)" in message
    assert "Use --device cpu" in message
    assert miniature("train", "--device", "auto") == 0
    assert "CUDA_VISIBLE_DEVICES=99" in (warning := capsys.readouterr().err)
    assert "so the CPU is used" in warning


def test_two_trainings_of_one_run(tmp_path, data, reported):
    miniature = Miniature(tmp_path, data)
    miniature.run.mkdir(parents=True)
    with (miniature.run / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert miniature("train") == 2
        assert f"another process is at work in {miniature.run}; wait for it" in reported()
        assert not (miniature.run / "run.json").exists()  # it is the other's


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK])
def test_a_file_system_without_locks(tmp_path, data, reported, monkeypatch, number):
    def refuse(*arguments: Any) -> None:
        raise OSError(number, os.strerror(number))

    miniature = Miniature(tmp_path, data)
    monkeypatch.setattr(fcntl, "flock", refuse)
    assert miniature("train") == 2
    message = reported()
    assert f"error: {miniature.run}: {os.strerror(number)}. The file system" in message
    assert "locks" in message


def test_a_checkpoint_of_other_data_is_refused(tmp_path, data, reported):
    miniature = Miniature(tmp_path, data, {"recipe/epochs": 2})
    miniature.run.mkdir(parents=True)
    run = configuration.load(miniature.config).run("digits", "network", 0)
    checkpoint.save(miniature.run / "checkpoint.pt", checkpoint.Identity(run.resolved(), {"data": "others"}), {})
    assert miniature("train") == 2
    message = reported()
    assert "data: 'others' in the checkpoint" in message
    assert "or pass --restart" in message
    assert miniature("train", "--restart") == 0


@pytest.mark.parametrize("rate", [1e30, float("inf")], ids=["outputs", "weights"])
def test_a_last_step_that_diverges_and_a_lower_learning_rate(tmp_path, data, reported, monkeypatch, rate):
    """The last loss was computed before the update that spoils the network; no row of the history shows it."""
    step, taken = torch.optim.AdamW.step, []

    def spoilt_at_last(self: torch.optim.AdamW, *arguments: Any) -> Any:
        taken.append(True)
        for group in self.param_groups:
            group["lr"] = rate if len(taken) == TOTAL else group["lr"]
        return step(self, *arguments)

    monkeypatch.setattr(torch.optim.AdamW, "step", spoilt_at_last)
    assert Miniature(tmp_path, data)("train") == 2
    message = reported()
    assert "of digits/network/seed0 is nan in epoch 4 of 4; lower learning_rate" in message
    assert not list(tmp_path.rglob("model.safetensors"))
    monkeypatch.undo()
    lower = Miniature(tmp_path, data, {"recipe/learning_rate": 1e-3})
    assert lower("train") == 0  # without --restart, which a pipeline cannot pass
    assert lower.run_json()["status"] == "trained"
    assert len(list(lower.run.glob("checkpoint-*.pt"))) == 1


def test_a_damaged_checkpoint(tmp_path, data, reported):
    miniature = Miniature(tmp_path, data, {"recipe/epochs": 1})
    miniature.run.mkdir(parents=True)
    (miniature.run / "checkpoint.pt").write_bytes(b"PK\x03\x04 and then nothing")
    assert miniature("train") == 2
    assert "checkpoint.pt is corrupt or not a checkpoint" in reported()


@pytest.mark.parametrize("verb", ["train", "evaluate"])
def test_a_damaged_model(spoilable, reported, verb):
    model = spoilable.run / "model.safetensors"
    model.write_bytes(model.read_bytes()[:1000])
    assert spoilable(verb) == 2
    message = reported()
    assert f"{model} is damaged" in message
    assert "train --restart" in message
    assert spoilable("train", "--restart") == 0


def test_a_model_of_an_earlier_version_of_the_code(spoilable, reported, monkeypatch):
    monkeypatch.setattr(checkpoint, "load_weights", lambda path, device: {"old.weight": torch.zeros(1)})
    assert spoilable("evaluate") == 2
    message = reported()
    assert "model.safetensors holds another network than" in message
    assert "--restart" in message


def test_a_damaged_run_json(spoilable, reported):
    (spoilable.run / "run.json").write_text('{"status": "trai')
    assert spoilable("evaluate") == 2
    assert "run.json" in (message := reported())
    assert "missing or damaged" in message
    assert spoilable("train") == 2
    assert "run.json is damaged. Delete it and run the same command again." in reported()
    (spoilable.run / "run.json").unlink()
    assert spoilable("train") == 0
    assert spoilable("evaluate") == 0


def test_a_run_that_is_not_trained_or_was_trained_otherwise(spoilable, tmp_path, data, reported):
    assert Miniature(tmp_path, data, {"recipe/epochs": 2})("evaluate") == 2
    assert "was trained with another configuration than the one given" in reported()
    (spoilable.run / "model.safetensors").unlink()
    assert spoilable("evaluate") == 2
    assert "is not trained" in (message := reported())
    assert "python -m benchmark train --dataset digits --method network --seed 0" in message


@pytest.mark.parametrize("verb", ["evaluate", "latency"])
def test_data_that_changed_since_the_training(spoilable, reported, monkeypatch, verb):
    """As when images are added to a folder, which is then prepared again."""
    load = datasets.load

    def changed(*arguments: Any) -> datasets.Dataset:
        return replace(load(*arguments), fingerprint="f" * 64)

    monkeypatch.setattr(datasets, "load", changed)
    assert spoilable(verb) == 2
    message = reported()
    assert "model.safetensors was trained on other data than digits is now" in message
    assert "now ffffffffffff); restore the data, or run `python -m benchmark train" in message
    assert not (spoilable.run / "records.parquet").exists()
    assert not (spoilable.run / "latency.csv").exists()


def test_data_that_is_not_there(tmp_path, reported):
    miniature = Miniature(
        tmp_path, tmp_path / "data", {"datasets/digits": {"kind": "image_folder", "parameters": {"path": "pets"}}}
    )
    assert miniature("train") == 2
    message = reported()
    assert f"{tmp_path}/data/pets/train does not hold images" in message
    assert "place them in train/<class>/ and test/<class>/" in message
    assert "pets/train does not hold images" in miniature.run_json()["error"]


def test_data_with_a_flipped_bit(tmp_path, reported):
    miniature = Miniature(tmp_path, tmp_path / "data")
    arguments = ["data", "--config", str(miniature.config), "--dataset", "digits", "--data", str(miniature.data)]
    assert main(arguments) == 0
    (images,) = miniature.data.glob("prepared/*/test.images.npy")
    content = bytearray(images.read_bytes())
    content[-1] ^= 1
    images.write_bytes(content)
    assert main(arguments) == 2
    assert f"{images} does not match its checksum; delete that folder and prepare it again" in reported()


def test_data_that_was_cut_short_is_laid_anew(tmp_path, capsys):
    miniature = Miniature(tmp_path, tmp_path / "data", {"recipe/epochs": 1})
    arguments = ["data", "--config", str(miniature.config), "--dataset", "digits", "--data", str(miniature.data)]
    assert main(arguments) == 0
    (images,) = miniature.data.glob("prepared/*/train.images.npy")
    whole = images.read_bytes()
    images.write_bytes(whole[:-100])
    assert miniature("train") == 0
    assert images.read_bytes() == whole


@pytest.mark.parametrize("option", ["--results", "--data"])
def test_a_folder_that_cannot_be_written(tmp_path, data, reported, option):
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    assert Miniature(tmp_path, data)("train", option, str(in_the_way / "below")) == 2
    message = reported()
    assert str(in_the_way) in message
    assert "Not a directory" in message
    assert "name another folder" in message


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "No space left on device. The disk is full: free some space"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "Read-only file system. The file system is mounted read-only: name folders elsewhere"),
        (errno.EACCES, "Permission denied. Name folders that you may read and write"),
    ],
)
def test_a_disk_that_refuses(tmp_path, data, reported, monkeypatch, number, message):
    miniature = Miniature(tmp_path, data)

    def refuse(path: Path) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files, "_sync", refuse)
    assert miniature("train") == 2
    assert f"error: {miniature.run}: " in (line := reported())
    assert message in line
    assert [path.name for path in miniature.run.iterdir()] == [".lock"]


def limit_file_size() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000))


def test_a_disk_that_is_full_in_the_middle(tmp_path, data):
    """The limit is the kernel's; the run.json fits, the checkpoint does not."""
    miniature = Miniature(tmp_path, data)
    process = miniature.start("train", prepare=limit_file_size)
    process.join()
    assert process.exitcode == 2
    assert f"error: {miniature.run}: File too large. The file would be larger than" in miniature.log()
    assert "Traceback" not in miniature.log()
    assert miniature.run_json()["status"] == "failed"
    assert "File too large" in miniature.run_json()["error"]
    assert {path.name for path in miniature.run.iterdir()} == {".lock", "run.json"}
    assert miniature("train") == 0


def test_what_nobody_foresaw_ends_with_one_line_too(spoilable, monkeypatch, capsys):
    def stumble(*arguments: Any) -> None:
        raise ZeroDivisionError("in a method of somebody's own")

    shutil.rmtree(spoilable.run)
    monkeypatch.setattr(Workshop, "training_loss", stumble)
    assert spoilable("train") == 1
    message = capsys.readouterr().err
    assert message.splitlines()[-1] == "error: ZeroDivisionError: in a method of somebody's own"
    assert "Traceback" in message  # for whoever wrote that method
    assert spoilable.run_json()["error"] == "ZeroDivisionError: in a method of somebody's own"


def test_more_processes_than_gpus(tmp_path, data, reported, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    assert Miniature(tmp_path, data)("train", "--device", "cuda") == 2
    assert "torchrun started 3 processes on a machine where 2 GPUs are visible; use --nproc-per-node 2" in reported()
