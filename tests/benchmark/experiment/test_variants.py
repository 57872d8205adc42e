"""Every variant of a method that the shipped experiments train is trained here, for one step, and evaluated."""

from pathlib import Path

import pytest
import yaml

from benchmark.__main__ import main
from benchmark.experiment import configuration

CONFIG = Path(__file__).parents[3] / "config"
#: Experiments of variants: what others train, the contract tests cover.
EXPERIMENTS = ("ablations", "prices", "fixed_point")
#: Small in all that does not make a variant what it is.
RECIPE = {"epochs": 1, "batch_size": 32}
MAZES = {"size": 6, "longest": 8, "train": 64, "validation": 16, "test": 16, "seed": 0}


def variants() -> list[tuple[str, str]]:
    return [
        (experiment, method)
        for experiment in EXPERIMENTS
        for method in configuration.load(CONFIG / f"{experiment}.yaml").methods
    ]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.mark.slow
@pytest.mark.parametrize(("experiment", "method"), variants())
def test_a_variant_can_be_trained_and_evaluated(experiment, method, data, tmp_path):
    content = yaml.safe_load((CONFIG / f"{experiment}.yaml").read_text())
    content["recipe"] |= RECIPE
    (dataset,) = content["datasets"]
    content["datasets"][dataset]["parameters"] = MAZES
    written = content["methods"][method]
    if written.get("kind", method) == "dynalay":
        written["parameters"] = {"agent_samples": 1000, **written["parameters"], "agent_steps": 5}
    path = tmp_path / f"{experiment}.yaml"
    path.write_text(yaml.safe_dump(content))
    run = ["--config", str(path), "--dataset", dataset, "--method", method, "--seed", "0"]
    where = ["--results", str(tmp_path / "results"), "--data", str(data), "--device", "cpu"]
    assert main(["train", *run, *where]) == 0
    assert main(["evaluate", *run, *where]) == 0
