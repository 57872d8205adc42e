"""The file of decisions: the same samples for every run of a dataset, and what their records say at the end."""

import copy

import numpy as np
import pandas as pd
import pytest

from benchmark.evaluation import decisions, records
from benchmark.training.batches import EVALUATION_IMAGES
from dynalay.classifier import OperatingPoint
from tests.benchmark.miniature import Miniature

BRANCHY = {"kind": "branchynet", "parameters": {"depth": 8, "channels": [4, 4, 4], "points": 3}}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Miniature:
    """An evaluated network with exits."""
    folder = tmp_path_factory.mktemp("decisions")
    miniature = Miniature(folder, folder / "data", {"methods/network": copy.deepcopy(BRANCHY)})
    assert [miniature(verb) for verb in ("train", "evaluate")] == [0, 0]
    return miniature


def test_each_sample_ends_as_its_record_says(run):
    steps = decisions.read(run.run / decisions.FILE)
    recorded = records.read(run.run / "records.parquet")
    recorded = recorded[recorded["split"] == "test"].astype({"operating_point": str})
    last = steps.groupby(["sample", "operating_point"], observed=True).tail(1).astype({"operating_point": str})
    both = last.merge(recorded, on=["sample", "operating_point"], suffixes=("", "_recorded"))
    assert len(both) == 40 * steps["operating_point"].nunique()
    assert (both["decision"] == "answer").all()
    assert (both["macs"] == both["macs_recorded"]).all()
    assert (both["label"] == both["label_recorded"]).all()
    assert [classes[0] for classes in both["classes"]] == both["prediction"].tolist()
    assert np.allclose([sorted(p)[-1] for p in both["probabilities"]], both["confidence"], atol=1e-3)


def test_steps_are_numbered_and_say_what_they_rest_on(run):
    steps = decisions.read(run.run / decisions.FILE)
    for _, sample in steps.groupby(["sample", "operating_point"], observed=True):
        assert sample["step"].tolist() == list(range(len(sample)))
        assert sample["macs"].is_monotonic_increasing
        assert set(sample["decision"][:-1].str.split().str[0]) <= {"exit"}
        leaves = sample["number.entropy"] < sample["number.threshold"]
        assert (leaves[:-1] == (sample["choice"][:-1] == "leave")).all()
    assert np.allclose([p.astype(float).sum() for p in steps["probabilities"]], 1, atol=5e-3)
    assert steps["choice"].eq("leave").any()


def test_a_sample_that_ends_otherwise_than_its_record_is_left_out(run):
    table = decisions.pq.read_table(run.run / decisions.FILE)
    recorded = records.read(run.run / "records.parquet").copy()  # what is read may not be written to
    point = recorded["operating_point"].iloc[0]
    wrong = (recorded["split"] == "test") & (recorded["sample"] == 7) & (recorded["operating_point"] == point)
    recorded.loc[wrong, "macs"] += 1
    kept = decisions.agreeing(table, recorded).to_pandas()
    lost = table.to_pandas().merge(kept[["sample", "operating_point"]].drop_duplicates(), how="left", indicator=True)
    lost = lost[lost["_merge"] == "left_only"]
    assert set(lost["sample"]) == {7}
    assert set(lost["operating_point"]) == {point}


def test_all_runs_of_a_dataset_look_into_the_same_samples():
    assert decisions.chosen_samples(7) == list(range(7))
    chosen = decisions.chosen_samples(10_000)
    assert len(chosen) == len(set(chosen)) == decisions.SAMPLES <= EVALUATION_IMAGES
    assert chosen == sorted(chosen)
    assert max(np.diff(chosen)) == min(np.diff(chosen)) == 50


def test_points_spread_over_the_compute_and_keep_both_ends():
    points = [OperatingPoint(knob, policy) for knob in range(30) for policy in ("own", "random")]
    names = [point.name for point in points]
    frame = pd.DataFrame({"split": "test", "operating_point": names, "macs": [(7 * i) % 31 for i in range(60)]})
    chosen = decisions.chosen_points(points, frame)
    assert len(chosen) == decisions.POINTS
    assert {point.policy for point in chosen} == {"own"}
    macs = [frame.set_index("operating_point")["macs"][point.name] for point in chosen]
    own = frame[frame["operating_point"].str.startswith("own")]["macs"]
    assert macs == sorted(macs)
    assert (macs[0], macs[-1]) == (own.min(), own.max())


def test_evaluating_again_gives_the_same_bytes_and_the_file_is_small(run):
    before = (run.run / decisions.FILE).read_bytes()
    assert run("evaluate") == 0
    assert (run.run / decisions.FILE).read_bytes() == before
    rows = decisions.pq.read_metadata(run.run / decisions.FILE).num_rows
    assert len(before) < 20_000 + 60 * rows
