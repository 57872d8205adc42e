import argparse
import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from benchmark.analysis import statistics, summary, tables
from benchmark.analysis.curves import Curve
from benchmark.analysis.formatting import AMOUNT, SHARE, Cell, Metric, Table, percent, significant
from benchmark.analysis.outcomes import Outcomes
from benchmark.analysis.statistics import Estimate
from benchmark.commands import tables as command
from benchmark.errors import UserError
from benchmark.evaluation import records
from benchmark.experiment.ground import NO_GROUND, Ground
from tests.benchmark.synthetic import METHODS, REFERENCE_MACS, Adaptive, Experiment, Static

EXPERIMENT = Experiment(
    samples=300, points=5, missing=("maze/resnet8/seed1",), failed=("digits/dynalay/seed2",), timed=True
)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    results = tmp_path_factory.mktemp("results")
    summary.write(EXPERIMENT.write(results), results)
    return results


@pytest.fixture(scope="module")
def outcomes(results):
    return Outcomes(results / EXPERIMENT.name)


@pytest.fixture(scope="module")
def numbers(outcomes):
    """All tables' numbers by (table, dataset, method, metric)."""
    parts = [table.numbers().assign(table=table.name) for table in tables.make(outcomes)]
    return pd.concat(parts).set_index(["table", "dataset", "method", "metric"]).sort_index()


def curve(validation_macs, validation_accuracy, accuracy):
    names = np.array([f"own:{i}" for i in range(len(accuracy))])
    macs, chosen, values = (np.array(x, float) for x in (validation_macs, validation_accuracy, accuracy))
    return Curve(names, macs, chosen, macs, values, values)


def test_operating_points_are_chosen_on_validation():
    fooled = curve([100, 200, 300], [0.5, 0.7, 0.7], [0.9, 0.1, 0.8])
    assert fooled.best() == 1  # the cheaper of two that are equal on validation, though test says otherwise
    assert fooled.best(150) == 0
    assert fooled.best(99) is None
    assert fooled.reaching(0.6) == 1
    assert fooled.reaching(0.71) is None
    assert fooled.middle() == 1


def test_area_by_hand():
    """Four doublings from 1/8 to 2: nothing fits the first, a poor point the next two, the best one the last."""
    assert curve([25, 100], [0.6, 0.9], [0.5, 0.8]).area(100, floor=0.1) == pytest.approx((0.1 + 2 * 0.5 + 0.8) / 4)
    assert curve([1], [0.9], [0.7]).area(100, floor=0.1) == pytest.approx(0.7)
    assert curve([201], [0.9], [0.7]).area(100, floor=0.1) == pytest.approx(0.1)
    # A more expensive point that is worse on validation is never used.
    assert curve([25, 100], [0.9, 0.6], [0.5, 0.8]).area(100, floor=0.1) == pytest.approx((0.1 + 3 * 0.5) / 4)


def test_accuracy_is_the_mean_over_seeds_at_the_best_point_on_validation(results, numbers):
    configuration = EXPERIMENT.configuration()
    accuracies = []
    for seed in range(3):
        raw = records.read(configuration.run("maze", "dynalay", seed).folder(results) / "records.parquet")
        raw = raw[raw["policy"] == "own"].assign(right=raw["label"] == raw["prediction"])
        means = raw.groupby(["split", "operating_point"], observed=True)[["right", "macs"]].mean()
        validation = means.loc["validation"].sort_values("macs")
        accuracies.append(means.loc[("test", validation["right"].idxmax()), "right"])
    row = numbers.loc[("main_results", "maze", "dynalay", "accuracy")]
    assert row["value"] == pytest.approx(np.mean(accuracies))
    assert (row["low"], row["high"]) == pytest.approx(statistics.mean_interval(accuracies))


def test_missing_seeds_are_holes_with_a_count(outcomes, numbers):
    for dataset, method in (("maze", "resnet8"), ("digits", "dynalay")):
        for table, metric in (
            ("main_results", "accuracy"),
            ("area", "area"),
            ("training", "training_macs"),
            ("calibration", "ece"),
        ):
            row = numbers.loc[(table, dataset, method, metric)]
            assert math.isnan(row["value"])
            assert (row["seeds"], row["expected"]) == (2, 3)
    text = tables.make(outcomes)[0].markdown()
    assert text.count("— (2/3 seeds)") >= 8
    assert math.isnan(numbers.loc[("overall", tables.ALL_DATASETS, "dynalay", "mean"), "value"])
    assert numbers.loc[("overall", tables.ALL_DATASETS, "dynalay", "mean"), "seeds"] == 5


def test_budgets_are_kept(numbers):
    assert numbers.loc[("budgets", "maze", "dynalay", "accuracy_at_25"), "seeds"] == 0  # the direct pass costs 30%
    half, full = (numbers.loc[("budgets", "maze", "dynalay", f"accuracy_at_{b}"), "value"] for b in (50, 100))
    assert 0.7 < half < full
    assert numbers.loc[("budgets", "digits", "resnet14", "accuracy_at_75"), "seeds"] == 0
    reference = numbers.loc[("main_results", "digits", "resnet14", "accuracy"), "value"]
    assert numbers.loc[("budgets", "digits", "resnet14", "accuracy_at_100"), "value"] == reference


def test_equal_accuracy_costs_less_than_the_reference_but_more_than_nothing(numbers):
    row = numbers.loc[("equal_accuracy", "maze", "dynalay", "relative_macs")]
    assert 0.3 < row["value"] < 0.7
    macs = numbers.loc[("equal_accuracy", "maze", "dynalay", "macs"), "value"]
    assert macs == pytest.approx(row["value"] * REFERENCE_MACS)
    assert (
        numbers.loc[("equal_accuracy", "digits", "resnet8", "macs"), "seeds"] == 0
    )  # 5 points worse, it never gets there


def test_differences_find_the_truth(numbers):
    worse = numbers.loc[("main_results", "digits", "resnet8", "difference")]
    assert worse["against"] == "resnet14"
    assert worse["value"] < 0
    assert worse["low"] < -0.05 < worse["high"]  # the truth is 0.80 - 0.85


def test_controls_show_what_choosing_is_worth(numbers):
    assert numbers.loc[("controls", "maze", "dynalay", "random"), "low"] > 0
    assert "branchynet" not in numbers.loc["controls"].index.get_level_values("method")


def test_ablations_are_the_variants_of_the_method(numbers):
    assert set(numbers.loc["ablations"].index.get_level_values("method")) == {"dynalay", "dynalay-unrolled"}
    ablation = numbers.loc[("ablations", "maze", "dynalay-unrolled", "difference")]
    assert ablation["low"] < -0.02 < ablation["high"]


def test_captions_name_what_is_not_on_the_common_ground(tmp_path):
    experiment = Experiment(samples=60, points=3)
    configuration = experiment.write(tmp_path)
    departures = {
        ("maze", "resnet8"): Ground(departures={"channels": (4, 8, 8)}),
        ("maze", "dynalay"): Ground(cannot_share=("strides",)),
        ("digits", "dynalay"): Ground(cannot_share=("strides",)),
    }
    runs = {key: replace(run, ground=departures.get(key, NO_GROUND)) for key, run in configuration._runs.items()}
    summary.write(replace(configuration, _runs=runs), tmp_path)
    made = {table.name: table for table in tables.make(Outcomes(tmp_path / experiment.name))}
    said = "Not wholly on the common ground: resnet8 on maze (channels: [4, 8, 8]); dynalay (cannot share strides)."
    for name in ("main_results", "budgets", "equal_accuracy", "area", "equal_training"):
        assert made[name].caption.endswith(said), name
    assert "common ground" not in made["training"].caption


def test_where_all_share_the_ground_no_caption_speaks_of_it(outcomes):
    assert not any("common ground" in table.caption for table in tables.make(outcomes))


def test_without_the_reference_relative_numbers_are_holes(tmp_path):
    missing = tuple(f"maze/resnet14/seed{seed}" for seed in range(3))
    experiment = Experiment(datasets={"maze": True}, samples=60, points=3, missing=missing)
    summary.write(experiment.write(tmp_path), tmp_path)
    made = {table.name: table for table in tables.make(Outcomes(tmp_path / experiment.name))}
    row = made["main_results"].cells["maze", "dynalay"]
    assert row["accuracy"].estimate is not None
    assert row["relative_macs"].estimate is None
    assert row["difference"].against == "resnet8"  # the best static network that is left
    assert made["area"].cells["maze", "dynalay"]["area"].estimate is None
    assert made["budgets"].cells["maze", "dynalay"]["accuracy_at_100"].seeds == 0


def test_with_nothing_recorded_every_cell_is_a_hole(tmp_path):
    configuration = Experiment().configuration()
    summary.write(configuration, tmp_path)
    for table in tables.make(Outcomes(tmp_path / "synthetic")):
        table.write(tmp_path)
        assert table.numbers()["value"].isna().all()


def test_text_csv_and_latex_agree(tmp_path):
    cells = {
        ("a_b", "x"): {"share": Cell(Estimate(0.5, 0.01, 2), 3, 3)},
        ("a_b", "y"): {"share": Cell(None, 1, 3)},
        ("c", "x"): {},
    }
    table = Table("t", "A share of 100%.", {"share": Metric("share (%)", percent)}, cells)
    table.write(tmp_path)
    low, high = 50 - 4.3027, 50 + 4.3027
    assert table.text().to_numpy().tolist() == [
        ["a_b", "x", f"50.00 [{low:.2f}, {high:.2f}]"], ["", "y", "— (1/3 seeds)"], ["c", "x", ""],
    ]  # fmt: skip
    csv = pd.read_csv(tmp_path / "t.csv")
    assert csv["value"].tolist() == [0.5, pytest.approx(np.nan, nan_ok=True)]
    latex = (tmp_path / "t.tex").read_text()
    assert r"\toprule" in latex
    assert rf"a\_b & x & 50.00 [{low:.2f}, {high:.2f}] \\" in latex
    assert r"share (\%)" in latex
    assert r"of 100\%." in latex
    assert "| a_b" in (tmp_path / "t.md").read_text()


def test_intervals_are_cut_to_what_is_possible(tmp_path):
    cells = {("maze", "x"): {"share": Cell(Estimate(0.99, 0.01, 2), 3, 3), "macs": Cell(Estimate(5.0, 10.0, 2), 3, 3)}}
    metrics = {"share": Metric("share (%)", percent, SHARE), "macs": Metric("MACs", significant, AMOUNT)}
    table = Table("t", "Shares and amounts.", metrics, cells)
    low, macs_high = 99 - 4.302653, 5 + 43.02653
    assert table.text().iloc[0, 2:].tolist() == [f"99.00 [{low:.2f}, 100.00]", f"5 [0, {macs_high:.0f}]"]
    assert table.numbers()[["low", "high"]].to_numpy() == pytest.approx(
        np.array([[low / 100, 1], [0, macs_high]]), abs=1e-4
    )


def test_with_three_seeds_no_number_leaves_its_range(numbers):
    shares = numbers[numbers.index.get_level_values("metric").isin(["accuracy", "area", "ece", "mean", "iqm"])]
    assert shares["low"].min() >= 0
    assert shares["high"].max() <= 1


def test_numbers_of_any_size_keep_three_digits():
    assert [significant(x) for x in (0, 0.5, 12, 1234, 999_600, 2.5e9, -40_000)] == [
        "0", "0.5", "12", "1.23 k", "1 M", "2.5 G", "-40 k",
    ]  # fmt: skip


def test_without_a_summary_the_user_is_told(tmp_path):
    with pytest.raises(UserError, match="benchmark summary"):
        tables.make(Outcomes(tmp_path))


def test_the_verb_writes_every_table_in_three_formats(results, monkeypatch, capsys):
    monkeypatch.setattr(command.configuration, "load", lambda path: EXPERIMENT.configuration())
    (results / EXPERIMENT.name / "tables").mkdir(exist_ok=True)
    (results / EXPERIMENT.name / "tables" / "of_methods_that_are_gone.md").write_text("from an earlier summary")
    command.main(argparse.Namespace(config=None, results=results))
    written = {path.name for path in (results / EXPERIMENT.name / "tables").iterdir()}
    made = [maker for maker in tables.MAKERS if maker.__name__ != "fixed_points"]  # no layer is solved to a tolerance
    assert written == {f"{maker.__name__}.{suffix}" for maker in made for suffix in ("csv", "md", "tex")}
    assert "main_results" in capsys.readouterr().out


def test_one_seed_gives_numbers_without_intervals(tmp_path):
    methods = {"resnet14": Static(), "dynalay": METHODS["dynalay"]}
    experiment = Experiment(datasets={"maze": True}, methods=methods, seeds=1, samples=60, points=3)
    summary.write(experiment.write(tmp_path), tmp_path)
    made = {table.name: table.numbers() for table in tables.make(Outcomes(tmp_path / experiment.name))}
    assert made["main_results"].query("metric == 'accuracy'")["value"].notna().all()
    assert made["main_results"]["low"].isna().all()


def test_tables_compare_with_the_most_accurate_static_network_and_name_it(tmp_path):
    methods = {"small": Static(0.7, 200_000), "large": Static(0.9, 3_000_000), "dynalay": METHODS["dynalay"]}
    experiment = Experiment(datasets={"maze": True}, methods=methods, samples=200, points=3)
    summary.write(experiment.write(tmp_path), tmp_path)
    outcomes = Outcomes(tmp_path / experiment.name)
    assert outcomes.reference == "small"  # the unit of MACs alone
    main = tables.make(outcomes)[0]
    assert main.cells["maze", "dynalay"]["difference"].against == "large"
    assert "difference" not in main.cells["maze", "large"]
    assert "The best static network is large on maze." in main.caption


def test_training_compute_stands_beside_test_compute_and_is_compared_at_equal_amounts(outcomes, numbers):
    assert numbers.loc[("main_results", "maze", "dynalay", "training_macs"), "value"] == 5e11
    # Accuracy in epoch e is 1 - 0.5 / e, at e tenths of the training MACs of run.json.
    row = numbers.loc[("equal_training", "maze", "dynalay")]["value"]
    expected = {"accuracy_at_25": 0.5, "accuracy_at_50": 0.75, "accuracy_at_100": 0.9}
    assert row.to_dict() == pytest.approx(expected)


def test_ablations_have_p_values_adjusted_for_all_variants(tmp_path):
    variants = {f"dynalay-{name}": METHODS["dynalay"] for name in "abc"}
    methods = {"resnet14": Static(), "dynalay": METHODS["dynalay"], **variants}
    experiment = Experiment(datasets={"maze": True}, methods=methods, samples=300, points=3)
    summary.write(experiment.write(tmp_path), tmp_path)
    _, cells = tables.ablations(Outcomes(tmp_path / experiment.name))
    rows = [cells["maze", name] for name in variants]
    raw = [estimate.two_sided_p_value() for row in rows if (estimate := row["difference"].estimate)]
    adjusted = [estimate.value for row in rows if (estimate := row["p"].estimate)]
    assert adjusted == pytest.approx(statistics.holm(raw).tolist())
    assert "p" not in cells["maze", "dynalay"]


def test_numbers_from_runs_of_several_commits_versions_or_machines_are_marked(tmp_path):
    experiment = Experiment(datasets={"maze": True}, methods={"resnet14": Static(), "dynalay": METHODS["dynalay"]},
                            samples=60, points=3)  # fmt: skip
    configuration = experiment.write(tmp_path)
    for seed, changes in enumerate(({"code": {"commit": "1" * 40, "dirty": False}}, {"versions": {"torch": "2.12.0"}})):
        path = configuration.run("maze", "dynalay", seed).folder(tmp_path) / "run.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    summary.write(configuration, tmp_path)
    table = tables.make(Outcomes(tmp_path / experiment.name))[0]
    mixed, alone = table.cells["maze", "dynalay"], table.cells["maze", "resnet14"]
    assert mixed["accuracy"].differs == "commit, library versions"
    assert alone["accuracy"].differs == ""
    assert mixed["accuracy"].text(table.metrics["accuracy"]).endswith("†")
    assert "differ in commit (2 versions), library versions (2 versions); † marks" in table.caption
    numbers = table.numbers().set_index(["method", "metric"])["differs"]
    assert numbers["dynalay", "macs"] == "commit, library versions"
    assert "†" in table.markdown()
    assert r"$\dagger$" in table.latex()


def test_a_difference_to_a_method_of_another_commit_is_marked_though_its_own_runs_agree(tmp_path):
    experiment = Experiment(datasets={"maze": True}, methods={"resnet14": Static(), "resnet8": METHODS["resnet8"]},
                            samples=60)  # fmt: skip
    configuration = experiment.write(tmp_path)
    for seed in configuration.seeds:
        path = configuration.run("maze", "resnet8", seed).folder(tmp_path) / "run.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"hardware": {"processor": "another"}}))
    summary.write(configuration, tmp_path)
    row = tables.make(Outcomes(tmp_path / experiment.name))[0].cells["maze", "resnet8"]
    assert row["accuracy"].differs == ""
    assert row["difference"].differs == row["p"].differs == "hardware"


def test_runs_that_agree_are_not_marked(outcomes):
    for table in tables.make(outcomes):
        assert not table.numbers()["differs"].any()
        assert "differ in" not in table.caption


def test_a_dollar_in_a_name_does_not_start_mathematics_in_latex():
    cells = {("a$b", "x"): {"share": Cell(Estimate(0.5, 0.01, 2), 3, 3)}}
    assert r"a\$b" in Table("t", "A share.", {"share": Metric("share", percent)}, cells).latex()


def test_saved_time_stands_beside_saved_macs(numbers, outcomes):
    row = numbers.loc[("time_at_equal_accuracy", "maze", "dynalay")]
    macs = row.loc["macs_saved", "value"]
    assert 0 < macs < 1
    assert row.loc["time_saved_256", "value"] == pytest.approx(macs, abs=1e-6)
    assert row.loc["time_saved_1", "value"] == pytest.approx(-1)
    assert "resnet14" not in numbers.loc[("time_at_equal_accuracy", "maze")].index.get_level_values("method")
    shown = numbers.loc[("latency", "maze", "dynalay"), "value"]
    assert shown["p99_1"] == pytest.approx(2.4)
    assert shown["peak_memory_mib_256"] == 356
    assert shown["threads_1"] == 1


@pytest.mark.parametrize(("commit", "said"), [("1" * 40, False), ("0" * 40, True), (None, False)])
def test_timings_by_other_code_than_that_of_the_runs_are_told(tmp_path, commit, said):
    experiment = Experiment(datasets={"maze": True}, samples=60, points=3, seeds=1, timed=True)
    configuration = experiment.write(tmp_path)
    for run in configuration.runs():
        path = run.folder(tmp_path) / "latency.csv"
        pd.read_csv(path).assign(commit=commit).to_csv(path, index=False)
        path = run.folder(tmp_path) / "run.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"code": {"commit": "1" * 40, "dirty": False}}))
    summary.write(configuration, tmp_path)
    made = {table.name: table for table in tables.make(Outcomes(tmp_path / experiment.name))}
    assert ("Timed with the code of commit 0000000000." in made["latency"].caption) == said
    assert "Timed with" not in made["main_results"].caption


def test_a_method_that_never_reaches_the_accuracy_is_left_out_of_the_table_of_time(tmp_path):
    methods: dict[str, Static | Adaptive] = {"resnet14": Static(), "dynalay": Adaptive(accuracy=0.5, gain=0.1)}
    experiment = Experiment(datasets={"maze": True}, methods=methods, samples=300, points=3, timed=True)
    summary.write(experiment.write(tmp_path), tmp_path)
    made = {table.name: table for table in tables.make(Outcomes(tmp_path / experiment.name))}
    assert ("maze", "dynalay") in made["latency"].cells
    assert "time_at_equal_accuracy" not in made, "a table of nothing but dashes"


def test_without_timings_there_are_no_tables_of_time(tmp_path):
    experiment = Experiment(datasets={"maze": True}, samples=60, points=3, seeds=1)
    summary.write(experiment.write(tmp_path), tmp_path)
    names = {table.name for table in tables.make(Outcomes(tmp_path / experiment.name))}
    assert not names & {"latency", "time_at_equal_accuracy"}
