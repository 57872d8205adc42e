"""Tuning from the first trial to an experiment that uses what was chosen, on a miniature grid."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmark import data
from benchmark.__main__ import main
from benchmark.data import Dataset
from benchmark.experiment import configuration
from benchmark.experiment.tuned import read_tuned
from benchmark.training.streams import Streams
from benchmark.tuning.trials import Trial, trial

pytestmark = pytest.mark.slow  # together

CONTENT: dict[str, Any] = {
    "experiment": "tiny",
    "seeds": 1,
    "reference": "resnet8",
    "recipe": {"epochs": 2, "batch_size": 32},
    "datasets": {"digits": {"parameters": {"train_samples": 64, "test": 40, "validation": 40}}},
    "methods": {
        "resnet8": {"kind": "resnet", "parameters": {"depth": 8, "channels": [8, 8, 8]}},
        "branchynet": {"parameters": {"depth": 8, "channels": [8, 8, 8], "points": 3}},
    },
}


class Grid:
    """The experiment in a folder, with its own results; the data may be shared."""

    def __init__(self, folder: Path, data_folder: Path, **changes: Any) -> None:
        self.config = folder / "tiny.yaml"
        self.config.write_text(yaml.safe_dump(CONTENT | changes, sort_keys=False))
        self.results, self.data = folder / "results", data_folder
        self.tuned = folder / "tuned" / "tiny.yaml"

    def configuration(self) -> configuration.Configuration:
        return configuration.load(self.config)

    def trial(self, method: str, number: int) -> Trial:
        return trial(configuration.load(self.config, tuned=False), "digits", method, number)

    def points(self, method: str, number: int) -> dict[str, Any]:
        return json.loads(self.trial(method, number).points_file(self.results).read_text())

    def run_trial(self, method: str, number: int) -> int:
        folders = ["--results", str(self.results), "--data", str(self.data)]
        names = ["--config", str(self.config), "--dataset", "digits", "--method", method, "--trial", str(number)]
        return main(["trial", *names, *folders, "--device", "cpu"])

    def tune(self, trials: int) -> int:
        return main(["tune", "--config", str(self.config), "--results", str(self.results), "--trials", str(trials)])


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Grid:
    """Three trials of each method, not to be changed."""
    folder = tmp_path_factory.mktemp("finished")
    grid = Grid(folder, folder / "data")
    for method in CONTENT["methods"]:
        for number in range(3):
            assert grid.run_trial(method, number) == 0
    assert grid.tune(3) == 0
    return grid


def test_the_file_says_what_was_chosen_of_what_and_by_what(finished):
    content = read_tuned(finished.tuned).content
    assert (content.experiment, content.trials, content.seed) == ("tiny", 3, 1000)
    assert len(content.commits) == 1
    assert content.versions["torch"]
    low, high = content.datasets["digits"].budgets
    macs = finished.points("resnet8", 0)["points"]["macs"]
    assert low == pytest.approx(macs[0] / 8, abs=0.1)
    assert high == pytest.approx(2 * macs[0], abs=0.1)
    for method, choice in content.datasets["digits"].methods.items():
        assert len(choice.scores) == 3
        assert choice.scores[choice.trial] == max(value for value in choice.scores if value is not None)
        chosen = finished.trial(method, choice.trial)
        if choice.trial:
            assert choice.recipe["learning_rate"] == chosen.recipe.learning_rate
    assert (finished.results / "tiny/tuning/tuning.pdf").exists()


def test_an_experiment_that_names_the_file_has_the_chosen_trials_settings(finished, tmp_path):
    tuned = yaml.safe_load(finished.tuned.read_text())
    rate = finished.trial("branchynet", 2).recipe.learning_rate
    weight = finished.trial("branchynet", 2).method_parameters["exit_weight"]
    tuned["datasets"]["digits"]["methods"]["branchynet"] |= {
        "trial": 2, "recipe": {"learning_rate": rate}, "parameters": {"exit_weight": weight},
    }  # fmt: skip
    grid = Grid(tmp_path, finished.data, tuned="tuned/tiny.yaml")
    grid.tuned.parent.mkdir()
    grid.tuned.write_text(yaml.safe_dump(tuned))
    run = grid.configuration().run("digits", "branchynet", 0)
    assert (run.recipe.learning_rate, run.method_parameters["exit_weight"]) == (rate, weight)
    assert run.digest != finished.configuration().run("digits", "branchynet", 0).digest
    # The values are the identity: written by hand, they give the same run.
    by_hand = {"recipe": {"learning_rate": rate}, "parameters": {"exit_weight": weight}}
    written = Grid(
        tmp_path,
        finished.data,
        datasets={"digits": CONTENT["datasets"]["digits"] | {"methods": {"branchynet": by_hand}}},
    )
    assert written.configuration().run("digits", "branchynet", 0).digest == run.digest


def test_tuning_starts_from_the_configuration_without_tuned_settings(finished, tmp_path):
    """So tuning again, once the experiment names the file, has nothing to train."""
    named = Grid(tmp_path, finished.data, tuned="tuned/tiny.yaml")
    assert [named.trial("branchynet", number).digest for number in range(3)] == [
        finished.trial("branchynet", number).digest for number in range(3)
    ]


def test_a_trial_cannot_see_the_test_split(finished, tmp_path, monkeypatch):
    """With a test split on which any access fails, a trial leaves the same points."""

    class Untouchable:
        def __getattr__(self, name: str) -> Any:
            raise AssertionError(f"test.{name} was read")

    load = data.load

    def load_without(*arguments: Any, **options: Any) -> Dataset:
        untouchable: Any = Untouchable()
        return replace(load(*arguments, **options), test=untouchable)

    monkeypatch.setattr(data, "load", load_without)
    grid = Grid(tmp_path, finished.data)
    assert grid.run_trial("branchynet", 1) == 0
    assert grid.points("branchynet", 1)["points"] == finished.points("branchynet", 1)["points"]


def test_only_the_methods_own_points_count_and_are_of_validation(finished):
    found = finished.points("branchynet", 0)
    samples = CONTENT["datasets"]["digits"]["parameters"]["validation"]
    assert all((samples * value) == pytest.approx(round(samples * value)) for value in found["points"]["accuracy"])
    assert found["seed"] == 1000


def test_a_stopped_trial_goes_on_where_it_was_and_ends_the_same(finished, tmp_path, monkeypatch, capsys):
    seek = Streams.seek
    sent: list[int] = []

    def seek_and_send(self: Streams, at: int) -> None:
        seek(self, at)
        if at == 1 and not sent:
            sent.append(at)
            os.kill(os.getpid(), signal.SIGTERM)

    grid = Grid(tmp_path, finished.data)
    monkeypatch.setattr(Streams, "seek", seek_and_send)
    assert grid.run_trial("resnet8", 1) == 75
    assert not grid.trial("resnet8", 1).points_file(grid.results).exists()
    assert grid.run_trial("resnet8", 1) == 0
    assert "resuming at step" in capsys.readouterr().out
    assert grid.points("resnet8", 1)["points"] == finished.points("resnet8", 1)["points"]


def test_a_finished_trial_is_left_as_it_is(finished, capsys):
    path = finished.trial("resnet8", 2).points_file(finished.results)
    before = path.stat().st_mtime_ns
    assert finished.run_trial("resnet8", 2) == 0
    assert "already finished" in capsys.readouterr().out
    assert path.stat().st_mtime_ns == before


def test_a_trial_that_diverges_is_a_result_and_is_not_chosen(finished, tmp_path, capsys):
    recipe = CONTENT["recipe"] | {"learning_rate": 1e25, "optimizer": "sgd", "gradient_clip": None}
    datasets = {"digits": CONTENT["datasets"]["digits"] | {"methods": {"branchynet": {"recipe": recipe}}}}
    grid = Grid(tmp_path, finished.data, datasets=datasets)
    for method in CONTENT["methods"]:
        for number in range(2):
            assert grid.run_trial(method, number) == 0
    assert grid.points("branchynet", 0)["points"] is None
    assert grid.tune(2) == 0
    choice = read_tuned(grid.tuned).choice("digits", "branchynet")
    assert choice is not None
    assert choice.scores[0] is None
    assert choice.trial == 1
    assert "diverged" in capsys.readouterr().out


def test_missing_trials_are_named_with_the_remedy(finished, capsys):
    assert finished.tune(4) == 2
    error = capsys.readouterr().err
    assert "2 of 8 trials are not finished (digits/resnet8/trial3, digits/branchynet/trial3)" in error
    assert "snakemake tune" in error


def refused(grid: Grid, capsys) -> str:
    assert main(["tables", "--config", str(grid.config), "--results", str(grid.results)]) == 2
    return capsys.readouterr().err


def test_a_missing_or_damaged_file_is_refused_by_name(finished, tmp_path, capsys):
    grid = Grid(tmp_path, finished.data, tuned="tuned/other.yaml")
    assert "tuned: there is no file" in (message := refused(grid, capsys))
    assert "tuned/other.yaml" in message
    (tmp_path / "tuned").mkdir()
    (tmp_path / "tuned/other.yaml").write_text("experiment: tiny\ntrial: 3\n")
    assert "trials: is missing" in refused(grid, capsys)


def test_settings_that_changed_since_tuning_are_refused(finished, tmp_path, capsys):
    grid = Grid(tmp_path, finished.data, tuned="tuned/tiny.yaml", recipe=CONTENT["recipe"] | {"learning_rate": 0.001})
    grid.tuned.parent.mkdir()
    grid.tuned.write_bytes(finished.tuned.read_bytes())
    message = refused(grid, capsys)
    assert "was made when digits/resnet8 had learning_rate 0.004, but it has 0.001 now" in message
    assert "tune again" in message


def test_a_variant_of_a_dataset_takes_what_was_chosen_there(finished, tmp_path, capsys):
    tuned = yaml.safe_load(finished.tuned.read_text())
    tuned["datasets"]["digits"]["methods"]["resnet8"]["recipe"] = {"learning_rate": 0.003}
    digits = CONTENT["datasets"]["digits"]
    few = digits | {"kind": "digits"}

    def grid_with(tuned_as: str) -> Grid:
        datasets = {"digits": digits, "few": few | {"tuned_as": tuned_as}, "other": few}
        grid = Grid(tmp_path, finished.data, tuned="tuned/tiny.yaml", datasets=datasets)
        grid.tuned.parent.mkdir(exist_ok=True)
        grid.tuned.write_text(yaml.safe_dump(tuned))
        return grid

    runs = [run for run in grid_with("digits").configuration().runs() if run.method == "resnet8"]
    rates = {run.dataset: run.recipe.learning_rate for run in runs}
    assert rates == {"digits": 0.003, "few": 0.003, "other": 0.004}
    assert "datasets.few.tuned_as: no dataset 'digit'. Did you mean 'digits'?" in refused(grid_with("digit"), capsys)


def test_a_tuned_value_that_the_method_refuses_is_reported_by_its_key(finished, tmp_path, capsys):
    tuned = yaml.safe_load(finished.tuned.read_text())
    tuned["datasets"]["digits"]["methods"]["branchynet"]["parameters"] = {"exit_wait": 1.0}
    grid = Grid(tmp_path, finished.data, tuned="tuned/tiny.yaml")
    grid.tuned.parent.mkdir()
    grid.tuned.write_text(yaml.safe_dump(tuned))
    message = refused(grid, capsys)
    assert (
        "datasets.digits.methods.branchynet.parameters.exit_wait: unknown key. Did you mean 'exit_weight'?" in message
    )
