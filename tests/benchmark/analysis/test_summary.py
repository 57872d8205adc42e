import argparse
import json

import numpy as np
import pandas as pd
import pytest

from benchmark.analysis import reduction, summary
from benchmark.commands import summary as command
from benchmark.errors import UserError
from benchmark.evaluation import records
from tests.benchmark.synthetic import REFERENCE_MACS, Experiment


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """An experiment with a run missing and one failed, its summary's folder, and its results."""
    results = tmp_path_factory.mktemp("results")
    experiment = Experiment(samples=240, points=5, missing=("maze/resnet8/seed1",), failed=("digits/dynalay/seed2",))
    configuration = experiment.write(results)
    return configuration, summary.write(configuration, results), results


def table(written, name):
    return pd.read_parquet(written[1] / f"{name}.parquet")


def run_records(written, dataset="maze", method="dynalay", seed=0):
    configuration, _, results = written
    return records.read(configuration.run(dataset, method, seed).folder(results) / "records.parquet")


def test_every_expected_run_has_a_row_and_holes_are_named(written):
    runs = table(written, "runs")
    assert len(runs) == len(written[0].runs())
    holes = runs[runs["status"] != "done"].set_index(["dataset", "method", "seed"])
    assert holes["status"].to_dict() == {("maze", "resnet8", 1): "missing", ("digits", "dynalay", 2): "failed"}
    assert "OutOfMemory" in holes.loc[("digits", "dynalay", 2), "error"]
    assert set(runs.loc[runs["reference"], "method"]) == {"resnet14"}


def test_curves_are_what_the_records_say(written):
    curves = table(written, "curves")
    raw = run_records(written)
    for (split, point), rows in raw.groupby(["split", "operating_point"], observed=True):
        curve = curves[
            (curves["dataset"] == "maze") & (curves["method"] == "dynalay") & (curves["seed"] == 0)
            & (curves["split"] == split) & (curves["operating_point"] == point)
        ].iloc[0]  # fmt: skip
        assert curve["accuracy"] == pytest.approx((rows["label"] == rows["prediction"]).mean())
        assert curve["macs"] == pytest.approx(rows["macs"].mean())
        assert curve["macs_q90"] == pytest.approx(rows["macs"].quantile(0.9))
        assert curve["samples"] == len(rows)
        if split == "test":
            varies = rows["macs"].min() < rows["macs"].max()
            expected = rows["macs"].corr(rows["difficulty"], method="spearman") if varies else 0
            assert curve["difficulty_correlation"] == pytest.approx(expected)


def test_the_order_of_rows_in_records_does_not_matter(written, tmp_path):
    configuration, folder, _ = written
    run = configuration.run("maze", "dynalay", 0)
    experiment = Experiment(samples=240, points=5)
    for each in configuration.runs():
        if each.dataset == "maze":
            experiment.write_run(each, tmp_path)
    path = run.folder(tmp_path) / "records.parquet"
    records.write(path, records.read(path).sample(frac=1, random_state=0))
    shuffled = pd.read_parquet(summary.write(configuration, tmp_path) / "curves.parquet")
    key = ["dataset", "method", "seed", "split", "operating_point"]
    both = shuffled.merge(pd.read_parquet(folder / "curves.parquet"), on=key)
    both = both[(both["dataset"] == "maze") & (both["method"] == "dynalay") & (both["seed"] == 0)]
    assert len(both) > 20
    assert both["accuracy_x"].tolist() == both["accuracy_y"].tolist()
    assert both["ece_x"].tolist() == pytest.approx(both["ece_y"].tolist())


def test_a_dynalay_that_asks_no_agent_is_summarised(written, tmp_path):
    configuration, _, _ = written
    for seed in configuration.seeds:
        run = configuration.run("maze", "dynalay", seed)
        Experiment(samples=240, points=5).write_run(run, tmp_path)
        path = run.folder(tmp_path) / "records.parquet"
        rows = records.read(path)
        actions = [name for name in rows.columns if name.startswith("note.action")]
        records.write(path, rows.assign(**dict.fromkeys(actions, np.int16(-1))))
    folder = summary.write(configuration, tmp_path)
    runs = pd.read_parquet(folder / "runs.parquet").query("dataset == 'maze' and method == 'dynalay'")
    assert set(runs["status"]) == {"done"}
    assert pd.read_parquet(folder / "actions.parquet").empty


def test_calibration_error_by_hand():
    confidence = np.array([[0.9, 0.95, 0.4, 1.0], [0.5, 0.5, 0.5, 0.5]])
    correct = np.array([[True, False, True, True], [True, False, True, False]])
    # Bins of 1/15: 0.9 in one, 0.95 and 1.0 in the last, 0.4 in one.
    first = (abs(0.9 - 1) + abs(0.95 + 1.0 - 1) + abs(0.4 - 1)) / 4
    assert reduction.calibration_error(confidence, correct) == pytest.approx([first, 0])


def test_difficulty_bins_hold_all_samples_and_rise(written):
    bins = table(written, "difficulty")
    one = bins[(bins["dataset"] == "maze") & (bins["method"] == "dynalay") & (bins["seed"] == 1)]
    one = one[one["operating_point"] == "own:0.5"].sort_values("bin")
    assert one["samples"].sum() == 240
    assert one["difficulty"].is_monotonic_increasing
    assert one["macs"].iloc[-1] > one["macs"].iloc[0]
    assert (one["samples"] @ one["macs"]) / 240 == pytest.approx(
        run_records(written, seed=1).query("split == 'test' and operating_point == 'own:0.5'")["macs"].mean()
    )


def test_without_a_dial_a_sample_is_as_hard_as_the_reference_finds_it(written):
    samples = table(written, "samples").set_index("dataset")
    assert set(samples.loc["maze", "dial"]) == {"difficulty"}
    assert set(samples.loc["digits", "dial"]) == {"doubt of the reference"}
    margins = []
    for seed in range(3):
        rows = run_records(written, "digits", "resnet14", seed).query("split == 'test'").sort_values("sample")
        right = rows["label"] == rows["prediction"]
        margins.append(rows["confidence"].where(right, -rows["confidence"]).to_numpy())
    assert samples.loc["digits", "difficulty"].to_numpy() == pytest.approx((1 - np.mean(margins, axis=0)) / 2)


def test_correctness_is_kept_for_each_sample(written):
    correctness = table(written, "correctness").set_index(["dataset", "method", "seed", "operating_point"])
    row = correctness.loc[("maze", "dynalay", 2, "always:2")]
    kept = np.unpackbits(np.frombuffer(row["correct"], np.uint8), count=row["samples"]).astype(bool)
    rows = run_records(written, seed=2).query("split == 'test' and operating_point == 'always:2'").sort_values("sample")
    assert kept.tolist() == (rows["label"] == rows["prediction"]).tolist()


def test_executions_times_costs_are_the_macs(written):
    executions = table(written, "executions")
    curves = table(written, "curves").query("split == 'test'")
    key = ["dataset", "method", "seed", "operating_point"]
    summed = executions.assign(macs=executions["executions"] * executions["component_macs"]).groupby(key)["macs"].sum()
    assert curves.set_index(key)["macs"].sort_index().tolist() == pytest.approx(summed.sort_index().tolist())


def test_notes_are_means_over_the_samples_that_have_them(written):
    notes = table(written, "notes").query("dataset == 'maze' and method == 'dynalay' and seed == 0")
    twice = notes[notes["operating_point"] == "always:2"].set_index("note")
    assert twice["mean"].to_dict() == {
        "residual1": 0.5,
        "residual2": 0.5,
        "residual3": 1.0,
    }  # layers 1 and 2, once each
    assert notes["samples"].dtype == int
    assert set(notes["samples"]) == {240}


def test_actions_count_every_open_sample_once_a_round(written):
    assert list(table(written, "actions")[["round", "action", "samples"]].dtypes) == [int, int, int]
    actions = table(written, "actions").query("dataset == 'maze' and method == 'dynalay' and seed == 0")
    always = actions[actions["operating_point"] == "always:2"].set_index(["round", "action"])["samples"].to_dict()
    assert always == {(1, 1): 240, (2, 2): 240, (3, 0): 240}


def test_the_gallery_shows_the_extremes_and_their_paths(written):
    gallery = table(written, "gallery").query("dataset == 'maze' and method == 'dynalay'")
    assert gallery.groupby("extreme").size().to_dict() == {"least": 8, "most": 8}
    rows = run_records(written).query("split == 'test'")
    macs = rows[rows["operating_point"] == gallery["operating_point"].iloc[0]]["macs"]
    assert gallery.query("extreme == 'least'")["macs"].max() == macs.min()
    assert gallery.query("extreme == 'most'")["macs"].min() == macs.max()
    assert [path.tolist() for path in gallery.query("extreme == 'least'")["path"]] == [[0]] * 8
    assert gallery.query("extreme == 'most'")["path"].iloc[0].tolist() == [1, 2, 3, 1]


def test_damaged_and_stale_runs_are_holes_and_not_errors(tmp_path):
    experiment = Experiment(datasets={"maze": True}, samples=60, points=2, seeds=2)
    configuration = experiment.write(tmp_path)
    damaged, stale, other, no_mapping = (
        configuration.run("maze", method, 1).folder(tmp_path)
        for method in ("dynalay", "resnet8", "branchynet", "resnet14")
    )
    (damaged / "records.parquet").write_bytes(b"PAR1 and no more")
    (no_mapping / "run.json").write_text("[]")
    content = json.loads((stale / "run.json").read_text())
    (stale / "run.json").write_text(json.dumps(content | {"seed": 7}))
    table = records.read(other / "records.parquet")
    records.write(other / "records.parquet", table.assign(label=(table["label"] + 1).astype("int16")))
    runs = pd.read_parquet(summary.write(configuration, tmp_path) / "runs.parquet")
    holes = runs[runs["status"] != "done"].set_index("method")
    assert holes["status"].to_dict() == {
        "dynalay": "damaged", "resnet8": "stale", "branchynet": "damaged", "resnet14": "damaged",
    }  # fmt: skip
    assert "other runs" in holes.loc["branchynet", "error"]
    assert "run.json" in holes.loc["resnet14", "error"]


def test_a_damaged_reference_leaves_all_other_runs_whole(tmp_path):
    experiment = Experiment(datasets={"digits": False}, samples=60, points=2, seeds=1)
    configuration = experiment.write(tmp_path)
    reference = configuration.run("digits", configuration.reference, 0)
    (reference.folder(tmp_path) / "records.parquet").write_bytes(b"no records")
    summary.write(configuration, tmp_path)
    runs = pd.read_parquet(tmp_path / experiment.name / "summary" / "runs.parquet").set_index("method")["status"]
    assert runs[configuration.reference] == "damaged"
    assert (runs.drop(configuration.reference) == "done").all()


def test_runs_on_other_data_than_the_last_are_stale(tmp_path):
    experiment = Experiment(datasets={"digits": False}, samples=60, points=2, seeds=2)
    configuration = experiment.write(tmp_path)
    for run in configuration.runs():
        path = run.folder(tmp_path) / "run.json"
        before = {"data": "old", "started": "2026-01-01T00:00:00+0000"}
        after = {"data": "new", "started": "2026-01-02T00:00:00+0000"}
        path.write_text(json.dumps(json.loads(path.read_text()) | (after if run.seed else before)))
    summary.write(configuration, tmp_path)
    runs = pd.read_parquet(tmp_path / experiment.name / "summary" / "runs.parquet")
    assert set(runs.loc[runs["seed"] == 0, "status"]) == {"stale"}
    assert runs.loc[runs["seed"] == 0, "error"].str.startswith("its data are not those of digits/").all()
    assert set(runs.loc[runs["seed"] == 1, "status"]) == {"done"}


def test_an_experiment_without_any_run_has_an_empty_summary(tmp_path):
    folder = summary.write(Experiment().configuration(), tmp_path)
    assert set(pd.read_parquet(folder / "runs.parquet")["status"]) == {"missing"}
    assert pd.read_parquet(folder / "curves.parquet").empty


def test_the_verb_tells_what_is_missing(written, monkeypatch, capsys):
    monkeypatch.setattr(command.configuration, "load", lambda path: written[0])
    command.main(argparse.Namespace(config=None, results=written[2], workers=1, strict=False))
    output = capsys.readouterr().out
    assert "28 of 30 runs" in output
    assert "maze/resnet8/seed1: missing\n" in output


def test_runs_of_several_commits_are_refused_if_asked(tmp_path, monkeypatch):
    small = Experiment(samples=60, points=2, seeds=2)
    configuration = small.write(tmp_path)
    monkeypatch.setattr(command.configuration, "load", lambda path: configuration)
    arguments = argparse.Namespace(config=None, results=tmp_path, workers=1, strict=True)
    command.main(arguments)  # all of one kind
    run_json = configuration.runs()[0].folder(tmp_path) / "run.json"
    content = json.loads(run_json.read_text())
    run_json.write_text(json.dumps(content | {"code": {"commit": "1" * 40, "dirty": False}}))
    with pytest.raises(UserError, match=r"differ in commit \(2 different\)"):
        command.main(arguments)
    command.main(argparse.Namespace(config=None, results=tmp_path, workers=1, strict=False))


def test_static_networks_spend_the_same_on_all(written):
    curves = table(written, "curves").query("method == 'resnet14'")
    assert set(curves["macs"]) == {REFERENCE_MACS}
    assert curves["knob"].isna().all()


@pytest.mark.slow
def test_processes_give_the_same_summary(written, tmp_path, monkeypatch):
    monkeypatch.setattr(summary, "MANY_RUNS", 1)
    configuration, folder, results = written
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    summary.write(configuration, results, workers=2)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_spending_is_the_macs_of_every_sample_at_own_points(written):
    spending = table(written, "spending").query("dataset == 'maze' and method == 'dynalay' and seed == 1")
    assert all(point.startswith("own:") for point in spending["operating_point"])
    row = spending.set_index("operating_point").loc["own:0.5"]
    rows = run_records(written, seed=1).query("split == 'test' and operating_point == 'own:0.5'").sort_values("sample")
    assert np.frombuffer(row["macs"], np.float32).tolist() == rows["macs"].tolist()


def test_runs_hold_their_library_versions(written):
    runs = table(written, "runs").query("status == 'done'")
    assert set(runs["versions"]) == {'{"torch": "2.11.0"}'}
