"""Models as folders: what they were built from, and their weights."""

import copy
import json
from typing import Any

import pytest
import torch
from torch import nn

from baselines.resnet import ResNet
from dynalay import AdaptiveClassifier, FPILayer, FPINetwork, IntrospectiveClassifier, Workshop
from dynalay.pretrained import CONFIG, WEIGHTS, PretrainedError

SMALL: dict[str, Any] = {"channels": (4, 8), "strides": (1, 2), "fpi": (True, False)}


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    Workshop((1, 8, 8), 3, **SMALL).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("asked", [Workshop, IntrospectiveClassifier, AdaptiveClassifier])
def test_what_is_read_is_what_was_saved(tmp_path, asked, dtype):
    model = Workshop((1, 8, 8), classes=3, rounds=2, **SMALL).to(dtype)
    copy.deepcopy(model).save_pretrained(str(tmp_path / "deep" / "model"))  # a copy knows what it was built from too
    restored = asked.from_pretrained(str(tmp_path / "deep" / "model"))
    assert type(restored) is Workshop
    assert not restored.training
    images = torch.randn(4, 1, 8, 8, dtype=dtype)
    found, expected = restored.predict(images, price=0.01), model.predict(images, price=0.01)
    assert torch.equal(found.logits, expected.logits)
    assert found.logits.dtype == dtype
    assert torch.equal(found.macs, expected.macs)
    assert restored.rounds == 2


def test_saving_a_channels_last_model_and_saving_again(folder):
    model = Workshop.from_pretrained(folder).to(memory_format=torch.channels_last)
    weights, config = (folder / WEIGHTS).read_bytes(), (folder / CONFIG).read_text()
    model.save_pretrained(folder)
    assert (folder / WEIGHTS).read_bytes() == weights
    assert (folder / CONFIG).read_text() == config


def test_defaults_are_written_out(folder):
    arguments = json.loads((folder / CONFIG).read_text())["arguments"]
    assert arguments["solver"] == "picard"
    assert arguments["channels"] == [4, 8]


def test_another_class_is_refused_by_name(folder):
    with pytest.raises(PretrainedError, match=r"holds a dynalay\.workshop:Workshop, which is not ResNet"):
        ResNet.from_pretrained(folder)


@pytest.mark.parametrize("named", ["os:system", "torch.nn.modules.linear:Linear", "nowhere.at_all:Model", None, 3])
def test_nothing_but_a_loaded_classifier_is_built(folder, named):
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(config | {"class": named}))
    with pytest.raises(PretrainedError, match="import that class"):
        AdaptiveClassifier.from_pretrained(folder)


@pytest.mark.parametrize("change", [{"version": 99}, {"arguments": {"image_shape": [1, 8, 8]}}, {"arguments": []},
                                    {"arguments": {"image_shape": [1, 8, 8], "classes": 7}}])  # fmt: skip
def test_what_the_class_cannot_restore_is_an_error_with_the_folder(folder, change):
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(config | change))
    with pytest.raises(PretrainedError, match=folder.name):
        Workshop.from_pretrained(folder)


@pytest.mark.parametrize("file", [CONFIG, WEIGHTS])
def test_missing_and_corrupt_files_are_named(folder, file):
    (folder / file).write_bytes(b"{\xff")
    with pytest.raises(PretrainedError, match="corrupt"):
        Workshop.from_pretrained(folder)
    (folder / file).unlink()
    with pytest.raises(PretrainedError, match="not a saved model"):
        Workshop.from_pretrained(folder)


def test_a_model_built_from_modules_says_how_to_save_it_and_writes_nothing(tmp_path):
    class Cell(nn.Module):
        def forward(self, z, u):
            return u

    network = FPINetwork(nn.Linear(4, 4), [nn.Identity()], [FPILayer(Cell())], nn.Linear(4, 2), (4,))
    model = IntrospectiveClassifier(network, classes=2)
    with pytest.raises(PretrainedError, match=r"save its state_dict\(\) instead"):
        model.save_pretrained(tmp_path / "model")
    assert not (tmp_path / "model").exists()
