"""Checkpoints and weights on disk: what is damaged or belongs to another run is refused with what is wrong."""

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmark.errors import UserError
from benchmark.experiment.configuration import Recipe, Run
from benchmark.training import checkpoint

RESNET = {"method": {"kind": "resnet", "parameters": {"depth": 8}}, "recipe": {"epochs": 3}}
IDENTITY = checkpoint.Identity(RESNET, {"data": "cafe", "device": "cpu", "torch": "2.11.0"})
STATE: dict[str, Any] = {
    "model": {"weight": torch.arange(6.0).view(2, 3)},
    "progress": {"step": 4, "history": [{"loss": 0.5}]},
}
WEIGHTS = {"b": torch.arange(6.0).view(2, 3), "a": torch.tensor(7), "c": torch.zeros(0)}
RUN = Run("experiment", "digits", "small", 0, "digits", {}, "resnet", {"depth": 8}, Recipe())


@pytest.fixture
def saved(tmp_path) -> Path:
    checkpoint.save(tmp_path / "checkpoint.pt", IDENTITY, STATE)
    return tmp_path / "checkpoint.pt"


@pytest.fixture
def weights(tmp_path) -> Path:
    checkpoint.save_weights(tmp_path / "model.safetensors", RUN, WEIGHTS)
    return tmp_path / "model.safetensors"


def flip(path: Path, content: bytes) -> None:
    """Flip one bit in the middle of some bytes of a file."""
    data = bytearray(path.read_bytes())
    data[data.index(content) + len(content) // 2] ^= 1
    path.write_bytes(bytes(data))


def test_a_state_comes_back_as_it_was(saved):
    state = checkpoint.load(saved, IDENTITY)
    assert state is not None
    assert state["progress"] == STATE["progress"]
    assert torch.equal(state["model"]["weight"], STATE["model"]["weight"])


def test_no_checkpoint_is_no_error(tmp_path):
    assert checkpoint.load(tmp_path / "checkpoint.pt", IDENTITY) is None


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"data": "beef"}, "data: 'cafe' in the checkpoint, 'beef' now"),
        ({"device": "cuda"}, "device: 'cpu' in the checkpoint, 'cuda' now"),
        ({"torch": "2.14.1"}, "torch: '2.11.0' in the checkpoint, '2.14.1' now"),
    ],
)
def test_a_checkpoint_of_other_circumstances_is_refused_with_the_difference(saved, changes, difference):
    with pytest.raises(UserError) as error:
        checkpoint.load(saved, checkpoint.Identity(RESNET, {**IDENTITY.circumstances, **changes}))
    message = str(error.value)
    assert difference in message
    assert sum("in the checkpoint" in line for line in message.splitlines()) == 1
    assert str(saved) in message
    assert "--restart" in message


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"recipe": {"epochs": 5}}, "recipe.epochs: 3 in the checkpoint, 5 now"),
        ({"recipe": {"epochs": 3, "flip": True}}, "recipe.flip: None in the checkpoint, True now"),
        ({"method": {"kind": "act", "parameters": {"depth": 8}}}, "method.kind: 'resnet' in the checkpoint, 'act' now"),
        ({"method": {"kind": "resnet", "parameters": {}}}, "method.parameters.depth: 8 in the checkpoint"),
    ],
)
def test_a_checkpoint_of_another_configuration_is_set_aside_whole(saved, capsys, changes, difference):
    content = saved.read_bytes()
    # Another configuration may name another dataset; the data then differ too.
    other = checkpoint.Identity(RESNET | changes, {**IDENTITY.circumstances, "data": "beef"})
    assert checkpoint.load(saved, other) is None
    (kept,) = saved.parent.iterdir()
    assert kept != saved
    assert kept.read_bytes() == content
    warning = capsys.readouterr().err
    assert warning.startswith(f"warning: {saved} belongs to another configuration; it is kept as {kept.name}")
    assert difference in warning


def test_checkpoints_of_several_configurations_are_all_kept(saved):
    for epochs in (4, 5):
        identity = checkpoint.Identity(RESNET | {"recipe": {"epochs": epochs}}, IDENTITY.circumstances)
        assert checkpoint.load(saved, identity) is None
        checkpoint.save(saved, identity, STATE)
    assert len(list(saved.parent.iterdir())) == 3


def test_a_checkpoint_of_another_format_is_refused_with_both(saved, monkeypatch):
    monkeypatch.setattr(checkpoint, "FORMAT", checkpoint.FORMAT + 1)
    with pytest.raises(
        UserError, match=f"has format {checkpoint.FORMAT - 1}; this version reads format {checkpoint.FORMAT}"
    ):
        checkpoint.load(saved, IDENTITY)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 8 bytes")])
def test_too_little_memory_is_not_taken_for_damage(saved, monkeypatch, error):
    def too_much(*arguments: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr(torch, "load", too_much)
    with pytest.raises(type(error)):
        checkpoint.load(saved, IDENTITY)


class _Evil:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("executed"),)


@pytest.mark.parametrize("damage", ["truncated", "bit", "empty", "text", "code", "list"])
def test_a_damaged_checkpoint_is_named_and_none_is_executed(saved, damage, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if damage == "truncated":
        saved.write_bytes(saved.read_bytes()[:-200])
    elif damage == "bit":
        flip(saved, STATE["model"]["weight"].numpy().tobytes())
    elif damage in ("empty", "text"):
        saved.write_bytes(b"" if damage == "empty" else b"not a checkpoint")
    elif damage == "code":
        torch.save({"format": checkpoint.FORMAT, "state": _Evil()}, saved)
    else:
        torch.save([1, 2], saved)
    with pytest.raises(UserError) as error:
        checkpoint.load(saved, IDENTITY)
    assert f"The checkpoint {saved} is corrupt or not a checkpoint" in str(error.value)
    assert "--restart" in str(error.value)
    assert not (tmp_path / "executed").exists()


def test_the_evil_pickle_would_execute_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(_Evil()))
    assert (tmp_path / "executed").exists()


def test_weights_come_back_as_they_were_and_name_their_run(weights):
    loaded = checkpoint.load_weights(weights, torch.device("cpu"))
    assert loaded.keys() == WEIGHTS.keys()
    assert all(torch.equal(loaded[name], value) for name, value in WEIGHTS.items())
    assert checkpoint.weights_digest(weights) == RUN.digest != replace(RUN, seed=1).digest
    assert checkpoint.weights_digest(weights.with_name("missing")) is None


def test_the_same_weights_give_the_same_bytes(weights):
    for number in range(8):
        again = weights.with_name(f"{number}.safetensors")
        checkpoint.save_weights(again, RUN, dict(reversed(WEIGHTS.items())))
        assert again.read_bytes() == weights.read_bytes()


@pytest.mark.parametrize("damage", ["truncated", "bit", "text"])
def test_damaged_weights_are_refused(weights, damage):
    if damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:-5])
    elif damage == "bit":
        flip(weights, WEIGHTS["b"].numpy().tobytes())
    else:
        weights.write_bytes(b"no weights at all")
    with pytest.raises(UserError) as error:
        checkpoint.load_weights(weights, torch.device("cpu"))
    assert f"{weights} is damaged" in str(error.value)
    assert "train --restart" in str(error.value)
    if damage != "bit":  # the header alone does not show it
        with pytest.raises(UserError, match="is damaged"):
            checkpoint.weights_digest(weights)
