import numpy as np
import pandas as pd
import pytest

from benchmark.analysis import controls, summary, tables
from benchmark.analysis.mixtures import mixture
from benchmark.analysis.outcomes import Outcomes
from benchmark.evaluation import records
from tests.benchmark.synthetic import Adaptive, Experiment, Static


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    results = tmp_path_factory.mktemp("results")
    methods: dict[str, Static | Adaptive] = {"resnet14": Static(), "dynalay": Adaptive()}
    experiment = Experiment(datasets={"maze": True}, methods=methods, samples=3000, seeds=2)
    configuration = experiment.write(results)
    summary.write(configuration, results)
    return configuration, results, Outcomes(results / experiment.name)


def points_of(path) -> pd.DataFrame:
    """Means of every operating point on test, from the records themselves."""
    rows = records.read(path)
    rows = rows[rows["split"] == "test"].assign(right=lambda table: table["label"] == table["prediction"])
    by = ["policy", "operating_point"]
    return rows.groupby(by, observed=True)[["macs", "right"]].mean().reset_index()


def test_an_advantage_is_over_the_mixture_of_a_controls_settings_that_costs_the_same(written):
    configuration, results, outcomes = written
    found = controls.advantage(outcomes, "maze", "dynalay", 0, "random")
    assert found is not None
    points = points_of(configuration.run("maze", "dynalay", 0).folder(results) / "records.parquet")
    own, random = points[points["policy"] == "own"], points[points["policy"].isin(["random", "never"])]
    shares = mixture(random["macs"], own["macs"])
    known = ~np.isnan(shares).any(axis=1)
    expected = (own["right"].to_numpy() - shares @ random["right"].to_numpy())[known].mean()
    assert found.mean() == pytest.approx(expected)
    assert controls.advantage(outcomes, "maze", "dynalay", 7, "random") is None
    assert controls.advantage(outcomes, "maze", "resnet14", 0, "random") is None


def test_the_best_blind_policy_is_at_least_as_good_as_each_of_its_parts(written):
    _, _, outcomes = written
    best = controls.advantage_over_best(outcomes, "maze", "dynalay", 0, controls.BLIND)
    assert best is not None
    for policy in ("always", "random", "schedule", "shuffled"):
        single = controls.advantage(outcomes, "maze", "dynalay", 0, policy)
        assert single is not None
        assert best.mean() <= single.mean() + 0.003  # it is chosen on validation


@pytest.mark.parametrize("policies", [("random",), ("schedule", "unheard_of"), ("shuffled", "max_probability")])
def test_any_subset_of_the_controls_will_do(written, policies):
    _, _, outcomes = written
    assert controls.advantage_over_best(outcomes, "maze", "dynalay", 1, policies) is not None
    assert controls.advantage_over_best(outcomes, "maze", "dynalay", 1, ("unheard_of",)) is None


def threshold_curve(path, thresholds: int) -> tuple[np.ndarray, np.ndarray]:
    """Test MACs and accuracy of stopping at the first round whose confidence reaches a threshold.

    From the records of `never` and `always:k` alone: what a sample would have answered, and spent, after each round.
    """
    rows = records.read(path)
    rows = rows[rows["policy"].isin(["never", "always"])]
    rounds = {}
    for split in ("validation", "test"):
        part = rows[rows["split"] == split].sort_values(["knob", "sample"])
        rounds[split] = {
            name: part[name].to_numpy().reshape(part["knob"].nunique(), -1)
            for name in ("confidence", "macs", "label", "prediction")
        }
    test = rounds["test"]
    places = np.quantile(rounds["validation"]["confidence"], np.linspace(0, 1, thresholds))
    curve = []
    for threshold in [0, *places, 2]:
        reached = test["confidence"] >= threshold
        reached[-1] = True
        stop, sample = reached.argmax(axis=0), np.arange(reached.shape[1])
        right = test["prediction"][stop, sample] == test["label"][stop, sample]
        curve.append((test["macs"][stop, sample].mean(), right.mean()))
    macs, accuracy = np.array(curve).T
    return macs, accuracy


def test_the_tables_threshold_agrees_with_two_hundred_thresholds_on_the_rounds_themselves(written):
    configuration, results, outcomes = written
    recomputed = []
    for seed in configuration.seeds:
        path = configuration.run("maze", "dynalay", seed).folder(results) / "records.parquet"
        own = points_of(path).query("policy == 'own'")
        macs, accuracy = threshold_curve(path, 200)
        theirs = mixture(macs, own["macs"]) @ accuracy
        recomputed.append(np.nanmean(own["right"] - theirs))
    _, cells = tables.controls(outcomes)
    estimate = cells["maze", "dynalay"]["max_probability"].estimate
    assert estimate is not None
    assert np.mean(recomputed) > 0.001
    assert estimate.value == pytest.approx(np.mean(recomputed), abs=0.0005)
