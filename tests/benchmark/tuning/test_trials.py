"""Trials: equal for all methods, and trial 0 is the configuration."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmark.errors import UserError
from benchmark.experiment import configuration
from benchmark.tuning.trials import seed, space, trial, trials

CONTENT: dict[str, Any] = {
    "experiment": "tunable",
    "seeds": 2,
    "reference": "resnet8",
    "datasets": {
        "digits": {"ground": {"strides": [1, 2, 2]}},
        "maze": {"recipe": {"optimizer": "sgd", "learning_rate": 0.1}},
    },
    "methods": {
        "resnet8": {"kind": "resnet", "parameters": {"depth": 8}},
        "branchynet": {},
        "act": {"parameters": {"tau": 0.1}},
    },
}


@pytest.fixture
def experiment(tmp_path):
    path = tmp_path / "tunable.yaml"
    path.write_text(yaml.safe_dump(CONTENT))
    return configuration.load(path)


def test_every_method_has_the_same_number_of_trials(experiment):
    counts: dict[tuple[str, str], int] = {}
    for one in trials(experiment, 5, experiment.datasets):
        counts[one.dataset, one.method] = counts.get((one.dataset, one.method), 0) + 1
    assert counts == {(dataset, method): 5 for dataset in experiment.datasets for method in experiment.methods}


def test_tuning_can_be_for_one_dataset(experiment):
    assert {one.dataset for one in trials(experiment, 2, ["maze"])} == {"maze"}


def test_trial_0_is_the_configuration_but_for_its_seed(experiment):
    for run in experiment.runs():
        zero = trial(experiment, run.dataset, run.method, 0)
        assert {**zero.resolved(), "seed": run.seed} == run.resolved()
    assert seed(experiment) not in experiment.seeds


def test_the_seed_of_trials_is_none_of_the_experiments(tmp_path):
    path = tmp_path / "many.yaml"
    path.write_text(yaml.safe_dump(CONTENT | {"seeds": [1000, 1001]}))
    assert seed(configuration.load(path)) == 1002


def test_all_methods_try_the_same_recipes(experiment):
    for number in range(6):
        recipes = [trial(experiment, "digits", method, number).recipe for method in experiment.methods]
        assert recipes[0] == recipes[1] == recipes[2]


def test_more_trials_leave_the_earlier_ones_as_they_are(experiment):
    few, many = trials(experiment, 3, experiment.datasets), trials(experiment, 9, experiment.datasets)
    assert {one.digest for one in few} < {one.digest for one in many}
    assert len({one.digest for one in many}) == len(many)


def test_trials_stay_in_the_space_and_differ_in_all_of_it(experiment):
    tried = [trial(experiment, "digits", "branchynet", number) for number in range(1, 33)]
    rates = [one.recipe.learning_rate for one in tried]
    weights = [one.method_parameters["exit_weight"] for one in tried]
    assert min(rates) >= 1e-3
    assert max(rates) <= 1.6e-2
    assert min(weights) >= 0.25
    assert max(weights) <= 4
    # Spread evenly: a quarter of the trials in each quarter of a log range, to within a few.
    assert all(5 <= sum(low <= rate < 2 * low for rate in rates) <= 11 for low in (1e-3, 2e-3, 4e-3, 8e-3))
    assert len(set(rates)) == len(set(weights)) == 32


def test_the_optimizer_decides_where_learning_rates_are_sought(experiment):
    assert all(trial(experiment, "maze", "resnet8", number).recipe.learning_rate >= 0.025 for number in range(1, 9))


def test_what_the_experiment_sets_for_a_method_everywhere_is_not_tuned(experiment):
    assert set(space(experiment, "digits", "act").parameters) == {"backbone_share", "halting_bias"}
    assert {trial(experiment, "digits", "act", number).method_parameters["tau"] for number in range(8)} == {0.1}


def test_the_ground_is_not_tuned(tmp_path):
    path = tmp_path / "ground.yaml"
    path.write_text(yaml.safe_dump(CONTENT | {"datasets": {"digits": {"ground": {"exit_weight": 0.5}}}}))
    assert space(configuration.load(path), "digits", "branchynet").parameters == {}


def test_what_a_dataset_sets_for_a_method_is_where_its_tuning_starts(tmp_path):
    path = tmp_path / "override.yaml"
    override = {"digits": {"methods": {"branchynet": {"parameters": {"exit_weight": 0.7}}}}}
    path.write_text(yaml.safe_dump(CONTENT | {"datasets": override}))
    loaded = configuration.load(path)
    assert trial(loaded, "digits", "branchynet", 0).method_parameters["exit_weight"] == 0.7
    assert trial(loaded, "digits", "branchynet", 1).method_parameters["exit_weight"] != 0.7


def test_trials_have_folders_of_their_own(experiment):
    places = {one.folder(Path("results")) for one in trials(experiment, 4, experiment.datasets)}
    assert len(places) == 2 * 3 * 4
    assert all(place.is_relative_to("results/tunable/tuning") for place in places)


def test_a_negative_trial_is_refused(experiment):
    with pytest.raises(UserError, match="numbered from 0"):
        trial(experiment, "digits", "act", -1)
