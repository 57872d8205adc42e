import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from benchmark.__main__ import main
from benchmark.data import RawDataset, RawSplit, load, prepare, store
from benchmark.errors import UserError

DIGITS = {"train_samples": 200}


def state(folder):
    """What writing anything, even the same bytes again, would change."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_what_is_loaded_is_what_the_kind_gave(tmp_path):
    prepare("digits", DIGITS, tmp_path)
    dataset = load("digits", DIGITS, tmp_path, verify=True)
    assert dataset.name == "digits"
    assert dataset.image_shape == (1, 8, 8)
    assert len(dataset.classes) == 10
    assert dataset.difficulty_name is None
    assert [len(split.labels) for split in (dataset.train, dataset.validation, dataset.test)] == [200, 144, 359]
    assert dataset.train.images.dtype == torch.uint8
    assert dataset.train.labels.dtype == torch.int64
    assert dataset.train.difficulty.dtype == torch.float32
    assert dataset.train.difficulty.isnan().all()
    pixels = dataset.train.images.double() / 255
    assert_allclose(dataset.mean, pixels.mean((0, 2, 3)))
    assert_allclose(dataset.std, pixels.std((0, 2, 3), correction=0))


def test_preparing_again_writes_nothing(tmp_path):
    prepared = prepare("digits", DIGITS, tmp_path)
    before = state(tmp_path)
    assert prepare("digits", DIGITS, tmp_path) == prepared
    assert state(tmp_path) == before


def test_defaults_name_the_same_dataset_as_spelled_out_and_other_values_another(tmp_path):
    spelled_out = {"test": 0.2, "validation": 0.1, "train_samples": 200}
    assert prepare("digits", spelled_out, tmp_path) == prepare("digits", DIGITS, tmp_path)
    assert prepare("digits", {"train_samples": 100}, tmp_path) != prepare("digits", DIGITS, tmp_path)


def test_the_fingerprint_tells_arrays_apart_and_nothing_else(tmp_path):
    def fingerprint(folder, **parameters):
        prepare("digits", parameters, tmp_path / folder)
        return load("digits", parameters, tmp_path / folder).fingerprint

    assert fingerprint("a", train_samples=200) == fingerprint("b", train_samples=200)
    assert fingerprint("a", train_samples=200) != fingerprint("a", train_samples=201)


def test_writing_to_a_split_does_not_reach_the_disk(tmp_path):
    prepare("digits", DIGITS, tmp_path)
    load("digits", DIGITS, tmp_path).train.images.fill_(7)
    load("digits", DIGITS, tmp_path, verify=True)


def test_a_dataset_that_is_not_prepared_says_how_to_prepare_it(tmp_path):
    with pytest.raises(UserError, match=r"(?s)digits.*not prepared.*python -m benchmark data"):
        load("digits", DIGITS, tmp_path)


@pytest.mark.parametrize("name", ["train.images.npy", "test.labels.npy"])
def test_a_truncated_array_is_named_and_prepared_anew(tmp_path, name):
    path = prepare("digits", DIGITS, tmp_path) / name
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(UserError, match=name):
        load("digits", DIGITS, tmp_path)
    prepare("digits", DIGITS, tmp_path)
    assert path.read_bytes() == whole


def test_a_missing_array_is_named(tmp_path):
    (prepare("digits", DIGITS, tmp_path) / "test.difficulty.npy").unlink()
    with pytest.raises(UserError, match=r"test\.difficulty\.npy is missing"):
        load("digits", DIGITS, tmp_path)


def test_a_flipped_bit_is_found_by_the_full_check(tmp_path):
    path = prepare("digits", DIGITS, tmp_path) / "validation.images.npy"
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    load("digits", DIGITS, tmp_path)
    with pytest.raises(UserError, match=r"validation\.images\.npy does not match its checksum"):
        load("digits", DIGITS, tmp_path, verify=True)


def test_a_set_is_streamed_in_small_ascending_portions(tmp_path, monkeypatch):
    asked = []

    def read(indices):
        asked.append(indices)
        return (indices[:, None, None, None] % 256 + np.zeros((1, 1, 2, 2))).astype(np.uint8)

    def generate(folder):
        train, validation, test = (RawSplit(np.arange(samples) % 2, read) for samples in (1500, 10, 10))
        return RawDataset(("even", "odd"), train, validation, test)

    monkeypatch.setattr(store, "find_kind", lambda name: generate)
    prepare("counted", {}, tmp_path)
    assert max(map(len, asked)) <= 512
    assert all((np.diff(indices) == 1).all() for indices in asked)
    images = load("counted", {}, tmp_path).train.images
    assert (images[:, 0, 0, 0] == torch.arange(1500) % 256).all()


def columns(**changes):
    """A small split, as a kind should provide it but for `changes`."""
    images = np.zeros((6, 1, 4, 4), np.uint8)
    return RawSplit(**{"labels": np.arange(6) % 2, "read": images.__getitem__, **changes})


@pytest.mark.parametrize("split", store.SPLITS)
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"labels": np.arange(6) % 2 + 1},
            "labels must be from 0 to 1, as there are 2 classes; sample 1 has 2, and 3 of",
        ),
        ({"labels": np.arange(6) % 2 - 1}, "labels must be from 0 to 1, as there are 2 classes; sample 0 has -1"),
        ({"labels": np.full(6, 0.5)}, "labels must be a list of whole numbers, not float64"),
        ({"labels": np.zeros((6, 2), int)}, r"labels must be a list of whole numbers, not int64 \(6, 2\)"),
        ({"labels": np.zeros(0, int)}, r"labels must be a list of whole numbers, not int64 \(0,\)"),
        ({"difficulty": np.zeros(5, np.float32)}, "split has .6,. labels, but .5,. values of difficulty"),
        ({"read": np.zeros((6, 1, 4, 4)).__getitem__}, "images must all be uint8 .* are float64"),
        ({"read": np.zeros((6, 4, 4), np.uint8).__getitem__}, "images must all be uint8 arrays"),
        ({"read": np.zeros((6, 1, 0, 4), np.uint8).__getitem__}, "images must all be uint8 arrays"),
        ({"read": lambda indices: np.zeros((1, 1, 4, 4), np.uint8)}, "images must all be uint8 arrays"),
        ({"group": np.zeros(6, np.int8)}, "groups must be from 0 to -1, as there are 0 groups"),
    ],
)
def test_what_a_kind_provides_is_checked_before_anything_stands_on_disk(tmp_path, monkeypatch, split, changes, message):
    def generate(folder):
        return RawDataset(("a", "b"), **{name: columns(**(changes if name == split else {})) for name in store.SPLITS})

    monkeypatch.setattr(store, "find_kind", lambda name: generate)
    with pytest.raises(UserError, match=f"{split} .*{message}"):
        prepare("made", {}, tmp_path)
    assert not list((tmp_path / "prepared").glob("made*"))


def test_one_class_is_too_few(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "find_kind", lambda name: lambda folder: RawDataset(("a",), *(columns(),) * 3))
    with pytest.raises(UserError, match="made: a dataset needs at least 2 classes"):
        prepare("made", {}, tmp_path)


def test_groups_are_kept_where_there_are_any(tmp_path, monkeypatch):
    splits = [columns(group=np.array([0, 1, 1, 0, 2, 2], np.int8))] * 3
    made = RawDataset(("a", "b"), splits[0], splits[1], splits[2], groups=("x", "y", "z"))
    monkeypatch.setattr(store, "find_kind", lambda name: lambda folder: made)
    folder = prepare("made", {}, tmp_path)
    dataset = load("made", {}, tmp_path, verify=True)
    assert dataset.groups == ("x", "y", "z")
    assert dataset.test.group is not None
    assert dataset.test.group.tolist() == [0, 1, 1, 0, 2, 2]
    (folder / "test.group.npy").unlink()
    with pytest.raises(UserError, match=r"test\.group\.npy is missing"):
        load("made", {}, tmp_path)


def test_without_groups_nothing_is_written_of_them(tmp_path):
    folder = prepare("digits", DIGITS, tmp_path)
    assert not list(folder.glob("*group*"))
    assert "groups" not in json.loads((folder / "meta.json").read_text())
    dataset = load("digits", DIGITS, tmp_path)
    assert dataset.groups == ()
    assert dataset.test.group is None


FULL_DISK = """
import sys
from benchmark.__main__ import main
sys.exit(main(["data", "--dataset", "digits", "--data", "data"]))
"""


def test_a_full_disk_is_a_message_and_leaves_nothing(tmp_path):
    """On a file system of its own that is too small for the images, mounted in a namespace of its own."""
    script = (
        'mount -t tmpfs -o size=64k tmpfs "$1" && mkdir "$1/data" && cd "$1" && "$2" -c "$3"; status=$?; '
        'find "$1/data" -type f -size +0; exit $status'
    )
    process = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "sh", "-c", script, "sh", tmp_path, sys.executable, FULL_DISK],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": os.getcwd()}, check=False,  # noqa: PTH109
    )  # fmt: skip
    if process.returncode in (1, 32):  # not allowed to make a namespace, or to mount in it
        pytest.skip(process.stderr)
    assert process.returncode == 2, process.stderr
    assert "No space left on device: train.images.npy needs 0.1 MB. The disk is full: free some space" in process.stderr
    assert "Traceback" not in process.stderr
    assert process.stdout == ""


def run(code, folder):
    return subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": "."},
    )


def test_killed_halfway_it_is_not_prepared_and_the_next_call_prepares_it(tmp_path):
    killed = run(
        """
import os, pathlib, signal, sys
from benchmark.data import arrays, store

write = arrays._write
def write_or_die(path, *arguments):
    if path.name == "test.images.npy":
        os.kill(os.getpid(), signal.SIGKILL)
    return write(path, *arguments)
arrays._write = write_or_die
store.prepare("digits", {"train_samples": 200}, pathlib.Path(sys.argv[1]))
""",
        tmp_path,
    )
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    with pytest.raises(UserError, match="not prepared"):
        load("digits", DIGITS, tmp_path)
    prepared = prepare("digits", DIGITS, tmp_path)
    load("digits", DIGITS, tmp_path, verify=True)
    arrays = json.loads((prepared / "meta.json").read_text())["arrays"]
    assert {path.name for path in prepared.iterdir()} == {"meta.json", *arrays}


def test_of_two_processes_one_prepares_and_the_other_waits(tmp_path):
    code = """
import pathlib, sys, time
from benchmark.data import store

write = store.write_arrays
def slow_write(*arguments):
    print("writes")
    time.sleep(1)
    return write(*arguments)
store.write_arrays = slow_write
store.prepare("digits", {"train_samples": 200}, pathlib.Path(sys.argv[1]))
store.load("digits", {"train_samples": 200}, pathlib.Path(sys.argv[1]), verify=True)
print("loaded")
"""
    processes = [run(code, tmp_path) for _ in range(2)]
    outputs = [process.communicate()[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sorted(outputs) == [["loaded"], ["writes", "loaded"]]


def test_of_a_configuration_all_that_can_be_had_is_prepared(tmp_path, capsys):
    (tmp_path / "two.yaml").write_text(
        "experiment: two\nseeds: 1\nreference: resnet\nmethods: {resnet: {parameters: {depth: 8}}}\n"
        "datasets:\n  photographs: {kind: image_folder, parameters: {path: nowhere}}\n  digits: {}\n"
    )
    assert main(["data", "--config", str(tmp_path / "two.yaml"), "--data", str(tmp_path)]) == 2
    printed = capsys.readouterr()
    assert "digits: 10 classes" in printed.out
    assert "nowhere" in printed.err
    assert main(["data", "--config", str(tmp_path / "two.yaml"), "--dataset", "digits", "--data", str(tmp_path)]) == 0


def test_without_a_configuration_the_dataset_must_be_named(capsys):
    assert main(["data"]) == 2
    assert "--dataset cifar10" in capsys.readouterr().err
