"""The ground of a dataset: shared by every method that can, and what departs from it is named."""

import json
from pathlib import Path

import pytest
import yaml

from benchmark.errors import UserError
from benchmark.experiment import configuration, provenance
from benchmark.experiment.runs import Run

METHODS = {
    "resnet8": {"kind": "resnet", "parameters": {"depth": 8}},
    "narrow": {"kind": "resnet", "parameters": {"depth": 8, "channels": [4, 8, 8]}},
    "dynalay": {"kind": "workshop"},
}


CONFIGURATIONS = Path(__file__).parents[3] / "config"
every_comparison = pytest.mark.parametrize("name", ["quick", "dials", "fashion", "cifar10", "paper"])


def runs(folder: Path, ground: dict, overrides: dict | None = None) -> dict[str, Run]:
    """By method, on digits with this ground."""
    path = folder / "c.yaml"
    dataset = {"ground": ground, "methods": overrides or {}}
    content = {
        "experiment": "e",
        "seeds": 1,
        "reference": "resnet8",
        "datasets": {"digits": dataset},
        "methods": METHODS,
    }
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return {run.method: run for run in configuration.load(path).runs()}


def test_every_method_that_can_is_given_the_ground(tmp_path):
    found = runs(tmp_path, {"channels": [8, 8, 16], "tolerance": 0.1})
    assert found["resnet8"].method_parameters["channels"] == (8, 8, 16)
    assert found["dynalay"].method_parameters["channels"] == (8, 8, 16)
    assert found["dynalay"].method_parameters["tolerance"] == 0.1
    assert str(found["dynalay"].ground) == ""
    assert found["resnet8"].ground.cannot_share == ("tolerance",)
    assert str(found["resnet8"].ground) == "cannot share tolerance"


def test_a_methods_own_value_is_a_departure_unless_it_is_the_grounds(tmp_path):
    found = runs(tmp_path, {"channels": [8, 8, 16]}, {"dynalay": {"parameters": {"channels": [8, 8, 16]}}})
    assert found["narrow"].method_parameters["channels"] == (4, 8, 8)
    assert found["narrow"].ground.departures == {"channels": (4, 8, 8)}
    assert str(found["narrow"].ground) == "channels: [4, 8, 8]"
    assert not found["dynalay"].ground.departures


def test_a_ground_of_one_stage_is_given_to_methods_that_always_have_several(tmp_path):
    found = runs(tmp_path, {"channels": [24], "strides": [2]}, {"resnet8": {"parameters": {"channels": [24, 24, 24]}}})
    assert found["dynalay"].method_parameters["channels"] == (24,)
    assert found["dynalay"].method_parameters["strides"] == (2,)
    assert found["resnet8"].method_parameters["channels"] == (24, 24, 24)
    assert found["resnet8"].method_parameters["strides"] == (2, 1, 1)
    assert str(found["resnet8"].ground) == str(found["dynalay"].ground) == ""
    assert found["narrow"].ground.departures == {"channels": (4, 8, 8)}


def test_the_ground_is_part_of_a_runs_identity(tmp_path):
    plain, wide = runs(tmp_path, {}), runs(tmp_path, {"channels": [32, 32, 32]})
    assert plain["resnet8"].digest != wide["resnet8"].digest
    assert plain["narrow"].digest == wide["narrow"].digest
    assert not wide["resnet8"].is_described_by(json.loads(json.dumps(plain["resnet8"].resolved())))


def test_run_json_names_what_departs(tmp_path):
    run = runs(tmp_path, {"channels": [8, 8, 16], "tolerance": 0.1})["narrow"]
    provenance.update(tmp_path, run, status="trained")
    assert provenance.read(tmp_path)["ground"] == {
        "shared": {}, "departures": {"channels": [4, 8, 8]}, "cannot_share": ["tolerance"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("ground", "message"),
    [
        ({"chanels": [8, 8, 8]}, r"digits\.ground\.chanels: no method has this parameter\. Did you mean 'channels'"),
        ({"tolerance": "low"}, r"digits\.ground \(for dynalay\)\.tolerance: must be a valid number, not 'low'"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_ground_is_named_with_its_key(tmp_path, ground, message):
    with pytest.raises(UserError, match=message):
        runs(tmp_path, ground)


@every_comparison
def test_experiments_compare_methods_on_common_ground(name):
    experiment = configuration.load(CONFIGURATIONS / f"{name}.yaml")
    for run in experiment.runs():
        assert set(run.ground.shared) | set(run.ground.cannot_share) == {"channels", "strides", "pool"}, run
        assert not run.ground.departures, run
        assert not run.ground.cannot_share or run.method_kind == "msdnet", run  # whose paper is about its scales


@every_comparison
def test_experiments_compare_with_static_networks_of_several_sizes(name):
    experiment = configuration.load(CONFIGURATIONS / f"{name}.yaml")
    for kind in ("static", "resnet"):
        assert list(experiment.method_kinds.values()).count(kind) >= 2, kind
    assert experiment.method_kinds[experiment.reference] in ("static", "resnet")
