import dataclasses
import io
import itertools
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from benchmark import __main__ as command_line
from benchmark import figures
from benchmark.analysis import summary, tables, variants
from benchmark.evaluation import records
from benchmark.experiment import configuration as configurations
from benchmark.experiment.configuration import Configuration
from benchmark.figures import Evidence, Style, _evidence, _style, accuracy_latency, gallery, performance_profile, price
from benchmark.figures._means import mean_curves
from benchmark.figures._writing import write
from tests.benchmark.synthetic import METHODS, Experiment, Static

#: Their data does not come from records, so the synthetic experiment has none of it; they have tests of their own.
WITHOUT_SYNTHETIC_DATA = {"accuracy_latency", "fixed_points", "fog", "fpi_layers", "gallery", "residual_iteration"}
SYNTHETIC = sorted(set(figures.names()) - WITHOUT_SYNTHETIC_DATA)


@pytest.fixture(scope="module")
def evidence(tmp_path_factory):
    results = tmp_path_factory.mktemp("results")
    experiment = Experiment(samples=60, points=5, missing=("maze/resnet8/seed2",), trials=8)
    configuration = experiment.write(results)
    for run in configuration.runs():
        if (folder := run.folder(results)).exists():
            history(run).to_csv(folder / "history.csv", index=False)
    summary.write(configuration, results)
    return Evidence(configuration, results)


def history(run) -> pd.DataFrame:
    epochs = np.arange(1, 7)
    table = pd.DataFrame({"epoch": epochs, "loss": (1 + run.seed) / epochs})
    table["validation_accuracy"] = 1 - 0.5 / epochs
    table["validation_macs"] = 1000 * epochs
    if run.method_kind == "dynalay":
        learning = epochs > 3
        table["reward"] = np.where(learning, run.seed + epochs / 10, np.nan)
        for action, share in enumerate((0.4, 0.3, 0.2, 0.1)):
            table[f"choice{action}"] = np.where(learning, share, np.nan)
    return table


def style(evidence: Evidence, width: str = "page") -> Style:
    return Style(evidence.configuration.methods, evidence.outcomes.static_methods, width)


def drawn(name: str, evidence: Evidence, data: pd.DataFrame | None = None):
    """The figure's data, and its picture's panels by title."""
    module = figures.find(name)
    data = module.data(evidence) if data is None else data
    with figures.applied():
        picture = module.draw(data, style(evidence))
    return data, {panel.get_title(loc="left").replace("\n", " "): panel for panel in picture.axes}


def line(panel, label: str) -> np.ndarray:
    """The points [n, 2] of the one line with this label."""
    (found,) = [line for line in panel.lines if line.get_label() == label]
    return np.asarray(found.get_xydata())


# The contract


def test_every_figure_fulfils_the_contract(evidence):
    assert len(figures.names()) >= 13
    for name in figures.names():
        module = figures.find(name)
        assert figures.title(name), name
        assert len(figures.caption(name)) > 100, name
        assert module.applies(evidence.configuration) in (True, False)


def test_an_unknown_figure_is_refused_with_those_that_exist():
    with pytest.raises(Exception, match=r"no figure 'accuracy'.*accuracy_compute"):
        figures.find("accuracy")


def test_figures_of_an_agent_need_one(evidence):
    without = Experiment(methods={"resnet14": Experiment().methods["resnet14"]}).configuration()
    assert set(figures.applicable(without)) == {"accuracy_compute", "accuracy_latency", "training_curves"}
    assert {"price", "reward", "gallery", "layer_choice"} < set(figures.applicable(evidence.configuration))


@pytest.mark.parametrize("name", figures.names())
def test_an_experiment_without_results_has_empty_data(name, tmp_path):
    evidence = Evidence(Experiment().configuration(), tmp_path)
    summary.write(evidence.configuration, tmp_path)
    assert figures.find(name).data(evidence).empty


@pytest.mark.parametrize("name", SYNTHETIC)
def test_the_table_alone_gives_the_picture(name, evidence, tmp_path):
    """What is written beside the picture is enough to draw it again, to the same bytes."""
    module = figures.find(name)
    data = module.data(evidence)
    assert len(data)
    data.to_parquet(tmp_path / "data.parquet", index=False)
    pictures = []
    for table in (data, pd.read_parquet(tmp_path / "data.parquet")):
        stream = io.StringIO()
        with figures.applied():
            module.draw(table, style(evidence)).savefig(stream, format="svg", metadata={"Date": None})
        pictures.append(stream.getvalue())
    assert pictures[0] == pictures[1]


@pytest.mark.parametrize("width", figures.WIDTHS)
@pytest.mark.parametrize("name", SYNTHETIC)
def test_pictures_are_legible(name, width, evidence):
    """In the width asked for: no text below 7 pt, nothing cut off, and no legend over a panel."""
    module = figures.find(name)
    with figures.applied():
        picture = module.draw(module.data(evidence), style(evidence, width))
        picture.draw_without_rendering()
    assert picture.get_figwidth() in (figures.WIDTHS[width], figures.WIDTHS["column"])
    assert min(float(text.get_fontsize()) for text in picture.findobj(Text) if text.get_text()) >= 7
    boxes: list[Any] = [text.get_window_extent() for text in picture.texts]
    boxes += [part.get_tightbbox() for part in (*picture.axes, *picture.legends)]
    for box in boxes:
        assert picture.bbox.x0 - 1 <= box.x0 <= box.x1 <= picture.bbox.x1 + 1
        assert picture.bbox.y0 - 1 <= box.y0 <= box.y1 <= picture.bbox.y1 + 1
    for panel in picture.axes:  # missing seeds are noted beside the title, or above it on a line of their own
        title, note = (getattr(panel, name).get_window_extent() for name in ("_left_title", "_right_title"))
        if empty := panel.get_title(loc="right").count("\n"):
            note = Bbox([[note.x0, note.y1 - note.height / (1 + empty)], [note.x1, note.y1]])
        assert not (panel.get_title(loc="right") and note.padded(-3).overlaps(title))
    for one, other in itertools.combinations(boxes, 2):
        assert not one.padded(-3).overlaps(other)  # half a millimetre of empty descenders may touch


def test_twenty_methods_look_different_also_in_grey():
    looks = Style([f"method{number}" for number in range(20)])
    assert len({tuple(map(str, looks.look(f"method{n}").values())) for n in range(20)}) == 20
    shapes = [(looks.look(f"method{n}")["marker"], looks.look(f"method{n}")["linestyle"]) for n in range(20)]
    assert len(set(shapes)) == 20


def test_a_method_looks_the_same_whatever_else_is_drawn(evidence):
    _, compute = drawn("accuracy_compute", evidence)
    _, difficulty = drawn("compute_difficulty", evidence)
    colours = [
        next(line.get_color() for line in panels["maze"].lines if line.get_label() == "dynalay")
        for panels in (compute, difficulty)
    ]
    assert colours[0] == colours[1]


# Aggregation


def test_mean_curves_average_at_equal_compute():
    curves = pd.DataFrame({"m": "a", "seed": [0, 0, 1, 1], "x": [1.0, 3.0, 2.0, 5.0], "y": [0.6, 0.8, 0.8, 1.1]})
    found = mean_curves(curves, ["m"], "x", "y", along="x")
    assert found["x"].tolist() == [2.0, 3.0]  # what both seeds span
    assert found["y"].tolist() == pytest.approx([(0.7 + 0.8) / 2, (0.8 + 0.9) / 2])
    # Two seeds, Student's t with one degree of freedom: 12.706 standard errors of 0.05 each way.
    assert found["low"].tolist() == pytest.approx([0.75 - 12.706 * 0.05, 0.85 - 12.706 * 0.05], abs=1e-3)


def test_seeds_on_one_curve_give_that_curve_whatever_their_thresholds():
    rng = np.random.default_rng(0)
    seeds = [np.sort(np.r_[1, 9, rng.uniform(1, 9, size=points)]) for points in (3, 6, 9)]
    curves = pd.concat(pd.DataFrame({"m": "a", "seed": seed, "x": x, "y": 0.1 * x}) for seed, x in enumerate(seeds))
    found = mean_curves(curves, ["m"], "x", "y", along="x")
    assert found["y"].tolist() == pytest.approx((0.1 * found["x"]).tolist())
    widths = (found["high"] - found["low"]).fillna(0)
    assert widths.max() < 1e-9


def test_seeds_that_share_no_compute_make_one_point():
    curves = pd.DataFrame({"m": "a", "seed": [0, 0, 1], "x": [1.0, 3.0, 8.0], "y": [0.6, 0.8, 1.0]})
    found = mean_curves(curves, ["m"], "x", "y", along="x")
    assert found[["x", "y"]].to_numpy().tolist() == [[5.0, pytest.approx(0.85)]]


@pytest.mark.parametrize("seeds", [3, 5])
def test_coverage_of_a_mean_curve(seeds):
    """Seeds differ in height and in where their points lie; the truth is the mean curve at equal compute."""
    rng = np.random.default_rng(seeds)
    trials, covered = 400, []
    parts = []
    for trial in range(trials):
        for seed in range(seeds):
            x = np.sort(np.r_[1, 5, rng.uniform(1, 5, size=4)])
            parts.append(pd.DataFrame({"m": str(trial), "seed": seed, "x": x, "y": 0.1 * x + rng.normal(0, 0.02)}))
    found = mean_curves(pd.concat(parts), ["m"], "x", "y", along="x")
    covered = (found["low"] <= 0.1 * found["x"]) & (0.1 * found["x"] <= found["high"])
    assert 0.93 < covered.mean() < 0.97


# Each figure's data against the records, and its picture against its data


def test_accuracy_compute(evidence):
    data, panels = drawn("accuracy_compute", evidence)
    means = data[data["seed"].isna() & (data["dataset"] == "maze")]
    run = [run for run in evidence.configuration.runs() if (run.dataset, run.method) == ("maze", "dynalay")]
    table = pd.concat(records.read(r.folder(evidence.results) / "records.parquet").assign(seed=r.seed) for r in run)
    table = table[(table["split"] == "test") & (table["policy"] == "own")].assign(
        right=lambda rows: rows["prediction"] == rows["label"]
    )
    own = means[means["method"] == "dynalay"].sort_values("macs")
    expected = []
    for _, seed in table.groupby("seed"):
        curve = seed.groupby("knob")[["macs", "right"]].mean().sort_values("macs")
        expected.append(np.interp(own["macs"], curve["macs"], curve["right"]))
    assert own["accuracy"].to_numpy() == pytest.approx(np.mean(expected, axis=0))
    assert line(panels["maze"], "dynalay") == pytest.approx(own[["macs", "accuracy"]].to_numpy())
    # resnet8 lacks a seed on maze, so the frontier there is the level of resnet14; on digits it goes through both.
    frontier = line(panels["maze"], "static frontier")
    assert frontier[:, 1].tolist() == [means.loc[means["method"] == "resnet14", "accuracy"].item()] * len(frontier)
    digits = data[data["seed"].isna() & (data["dataset"] == "digits")]
    statics = digits[digits["static"]].sort_values("macs")
    assert line(panels["digits"], "static frontier")[:2] == pytest.approx(statics[["macs", "accuracy"]].to_numpy())
    reference = means.loc[means["reference"], "macs"].item()
    assert line(panels["maze"], "reference")[:, 0].tolist() == [reference, reference]


def test_where_variants_are_left_out_those_of_the_frontier_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(_evidence, "MANY", 2)
    never = {"dynalay-never": Static(accuracy=0.9, macs=500_000, kind="dynalay")}
    experiment = Experiment(datasets={"maze": True}, methods={**METHODS, **never}, samples=60, points=5)
    configuration = experiment.write(tmp_path)
    summary.write(configuration, tmp_path)
    evidence = Evidence(configuration, tmp_path)
    data, panels = drawn("accuracy_compute", evidence)
    assert set(data["method"]) == {*METHODS, *never} - {"dynalay-unrolled"}
    assert set(evidence.overlaid(evidence.outcomes.runs)["method"]) == set(data["method"])  # the leaderboard's
    assert 500_000 in line(panels["maze"], "static frontier")[:, 0]


def test_what_lies_below_a_panel_does_not_widen_its_axis(evidence):
    data, panels = drawn("accuracy_compute", evidence)
    before = panels["digits"].get_xlim()
    tail = data[data["seed"].isna() & (data["method"] == "dynalay")].assign(accuracy=0.0, low=0.0, high=0.0, macs=1.0)
    _, panels = drawn("accuracy_compute", evidence, pd.concat([data, tail], ignore_index=True))
    assert panels["digits"].get_xlim() == pytest.approx(before)


def test_a_panel_says_which_methods_lack_seeds(evidence):
    _, panels = drawn("accuracy_compute", evidence)
    assert panels["maze"].get_title(loc="right") == "resnet8: 2 of 3 seeds"
    assert panels["digits"].get_title(loc="right") == ""


def test_seeds_are_shown_where_they_are_few(evidence):
    data, panels = drawn("accuracy_compute", evidence)
    assert any(len(found.get_offsets()) == 15 for found in panels["maze"].collections)  # 3 seeds x 5 points
    many = pd.concat([data, *(data[data["seed"] == 0].assign(seed=seed) for seed in range(3, 13))], ignore_index=True)
    _, panels = drawn("accuracy_compute", evidence, many)
    assert not any(len(found.get_offsets()) in (15, 65) for found in panels["maze"].collections)


def test_compute_difficulty(evidence):
    data, panels = drawn("compute_difficulty", evidence)
    assert set(data["method"]) == {"branchynet", "dynalay", "dynalay-unrolled"}
    assert set(data.loc[data["dataset"] == "maze", "dial"]) == {"difficulty"}
    assert set(data.loc[data["dataset"] == "digits", "dial"]) == {"doubt of the reference"}
    doubt = data[(data["dataset"] == "digits") & (data["method"] == "dynalay")].sort_values("difficulty")
    assert line(panels["digits"], "dynalay") == pytest.approx(doubt[["percentile", "macs"]].to_numpy())
    assert 0 < doubt["percentile"].min() < 10
    assert 90 < doubt["percentile"].max() < 100
    assert panels["digits"].get_xlabel() == "doubt of the reference (percentile)"
    shown = data[(data["dataset"] == "maze") & (data["method"] == "dynalay")].sort_values("difficulty")
    assert line(panels["maze"], "dynalay") == pytest.approx(shown[["difficulty", "macs"]].to_numpy())
    assert shown["macs"].is_monotonic_increasing  # dynalay's skill is 1: it spends by difficulty
    assert shown["macs"].iloc[0] < shown["macs"].iloc[-1]
    assert panels["maze"].get_xlabel() == "difficulty"


def test_compute_difficulty_names_the_dial(evidence, monkeypatch):
    monkeypatch.setattr(Evidence, "dataset", lambda self, label: SimpleNamespace(difficulty_name="path length"))
    _, panels = drawn("compute_difficulty", evidence)
    assert panels["maze"].get_xlabel() == "path length"
    assert panels["digits"].get_xlabel() == "doubt of the reference (percentile)"


@pytest.mark.parametrize(("lines", "banded"), [(12, True), (13, False)])
def test_bands_are_left_out_where_they_would_cover_each_other(evidence, lines, banded):
    data = figures.find("accuracy_compute").data(evidence)
    own = data[(data["dataset"] == "maze") & (data["method"] == "dynalay") & data["seed"].isna()]
    many = pd.concat(own.assign(method=["dynalay", "branchynet"][k % 2] + k // 2 * "'") for k in range(lines))
    looks = style(evidence)
    with figures.applied(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(looks, "look", lambda method: {"color": "#123456"})
        picture = figures.find("accuracy_compute").draw(many, looks)
    assert any(isinstance(drawn, PolyCollection) for drawn in picture.axes[0].collections) == banded


def test_bands_of_compute_stay_within_what_can_be_spent(evidence):
    data = figures.find("compute_difficulty").data(evidence)
    wide = data.assign(low=-1e9, high=1e9)
    _, panels = drawn("compute_difficulty", evidence, wide)
    for method, shown in data[data["dataset"] == "maze"].groupby("method"):
        spent = evidence.outcomes.points[
            (evidence.outcomes.points["dataset"] == "maze") & (evidence.outcomes.points["method"] == method)
        ]
        possible = [spent["macs_q10"].min(), spent["macs_q90"].max()]
        assert possible[0] <= shown["macs"].min() <= shown["macs"].max() <= possible[1]
        bands = [area.get_paths()[0].vertices[:, 1] for area in panels["maze"].collections]
        assert any([band.min(), band.max()] == pytest.approx(possible) for band in bands)


def test_layer_choice(evidence):
    data, panels = drawn("layer_choice", evidence)
    assert set(data["method"]) == {"dynalay"}
    first = data[data["round"] == 1].groupby("dataset")["share"].sum()
    assert first.tolist() == pytest.approx([1.0, 1.0])  # everybody acts in round 1
    heights = {(round(bar.get_x() + bar.get_width() / 2), round(bar.get_height(), 9)) for bar in panels["maze"].patches}
    for row in data[data["dataset"] == "maze"].itertuples():
        assert (row.round, round(row.share, 9)) in heights


def test_layer_choice_counts_a_seed_without_an_action_as_zero():
    from benchmark.figures.layer_choice import mean_shares

    table = pd.DataFrame({"dataset": "d", "method": "m", "round": 1, "action": [0, 0, 1], "seed": [0, 1, 1]})
    found = mean_shares(table, ["dataset", "method", "round"], pd.Series([1.0, 0.5, 0.5]))
    assert found.set_index("action")["share"].to_dict() == {0: 0.75, 1: 0.25}


def test_layer_choice_training(evidence):
    data, panels = drawn("layer_choice_training", evidence)
    assert data["epoch"].min() == 4  # the agent learns after epoch 3
    assert data.groupby(["dataset", "epoch"])["share"].sum().tolist() == pytest.approx([1.0] * 6)
    tops = [area.get_paths()[0].vertices[:, 1].max() for area in panels["maze"].collections]
    assert tops == pytest.approx([0.4, 0.7, 0.9, 1.0])


def test_price(evidence):
    data, panels = drawn("price", evidence)
    choices = data[data["quantity"] == "choices"].groupby(["dataset", "knob"])["value"].sum()
    assert choices.tolist() == pytest.approx([1.0] * len(choices))
    macs = data[(data["quantity"] == "MACs") & (data["dataset"] == "maze")].sort_values("knob")
    assert line(panels["maze: MACs"], "MACs") == pytest.approx(macs[["knob", "value"]].to_numpy())
    assert macs["value"].is_monotonic_decreasing


def test_prices_that_differ_between_seeds_are_brought_together():
    own = pd.DataFrame(
        [
            {"dataset": "maze", "method": "dynalay", "seed": seed, "knob": price * (1 + seed), "accuracy": 1 - price,
             "macs": 1 / price}
            for seed in range(3)
            for price in (0.01, 0.03, 0.1)
        ]
    )  # fmt: skip
    taken = [own.assign(action=action, samples=samples) for action, samples in ((0, 30), (1, 10))]
    known = SimpleNamespace(
        agent_actions=pd.concat(taken, ignore_index=True),
        of_agents=lambda points: points,
        outcomes=SimpleNamespace(own_points=own, presented=lambda table: table),
    )
    data = price.data(cast(Evidence, known))
    choices = data[data["quantity"] == "choices"]
    assert choices.groupby("knob")["value"].sum().tolist() == pytest.approx([1.0] * choices["knob"].nunique())
    assert choices.loc[choices["action"] == 0, "value"].tolist() == pytest.approx([0.75] * choices["knob"].nunique())
    assert data["knob"].min() == pytest.approx(0.03), "the most expensive seed's cheapest price: all seeds have it"
    assert data["knob"].max() == pytest.approx(0.1)


def test_ablations(evidence):
    data, panels = drawn("ablations", evidence)
    assert data["method"].unique().tolist() == ["dynalay", "dynalay-unrolled"]
    (table,) = [table.numbers() for table in tables.make(evidence.outcomes) if table.name == "ablations"]
    for (dataset, method), rows in table.groupby(["dataset", "method"]):
        cells = rows.set_index("metric")[["value", "low", "high"]]
        shown = data[(data["dataset"] == dataset) & (data["method"] == method)].set_index("quantity")
        means, seeds = shown[shown["seed"].isna()], shown[shown["seed"].notna()]
        assert means.loc["MACs", ["value", "low", "high"]].tolist() == pytest.approx(
            cells.loc["macs"].tolist(), nan_ok=True
        )
        expected = cells["value"].get("difference", 0.0)  # DynaLay's to itself
        assert means.loc["accuracy", "value"] == pytest.approx(expected)
        assert seeds.loc["accuracy", "value"].mean() == pytest.approx(expected)
        place = ["dynalay", "dynalay-unrolled"].index(method)
        assert line(panels[f"{dataset}: accuracy"], method)[0] == pytest.approx([expected, place])
    assert [label.get_text() for label in panels["maze: accuracy"].get_yticklabels()] == ["dynalay", "dynalay-unrolled"]


def test_a_variant_that_lacks_seeds_has_points_but_no_mean(tmp_path):
    experiment = Experiment(samples=60, points=5, missing=("maze/dynalay-unrolled/seed2",))
    configuration = experiment.write(tmp_path)
    summary.write(configuration, tmp_path)
    data, panels = drawn("ablations", Evidence(configuration, tmp_path))
    lacking = data[(data["dataset"] == "maze") & (data["method"] == "dynalay-unrolled")]
    assert sorted(lacking["seed"]) == [0, 0, 1, 1]
    assert len(line(panels["maze: MACs"], "dynalay-unrolled")) == 0
    labels = [label.get_text() for label in panels["maze: accuracy"].get_yticklabels()]
    assert labels == ["dynalay", "dynalay-unrolled (2/3)"]


@pytest.mark.parametrize("width", figures.WIDTHS)
@pytest.mark.parametrize("datasets", [1, 2])
def test_a_long_legend_stays_clear_of_panels_and_labels(width, datasets):
    names = [f"a-variant-of-long-name-{number}" for number in range(19)]
    data = pd.DataFrame({"dataset": [f"set{number}" for number in range(datasets)]})
    look = Style(names, width=width)
    with figures.applied():
        picture, _ = look.panels(data)
        label = picture.supylabel("test accuracy (%)")
        look.legend(picture, [look.handle(name) for name in names])
        picture.draw_without_rendering()
    assert picture.get_figwidth() in (figures.WIDTHS[width], figures.WIDTHS["column"])
    (legend,) = picture.legends
    panels = Bbox.union([box for panel in picture.axes if (box := panel.get_tightbbox())])
    assert not legend.get_window_extent().overlaps(panels)
    assert not legend.get_window_extent().overlaps(label.get_window_extent())
    assert panels.y0 < label.get_window_extent().y0 < label.get_window_extent().y1 < panels.y1
    assert legend.get_window_extent().x1 <= picture.bbox.x1 + 1


def test_agent_controls(evidence):
    data, panels = drawn("agent_controls", evidence)
    assert data["policy"].unique().tolist() == [
        "agent",
        "random",
        "entropy",
        "always",
        "never",
        "schedule",
        "shuffled",
        "one_order",
        "max_probability",
    ]
    assert set(data["method"]) == {"dynalay"}
    for policy, curve in data[data["dataset"] == "maze"].groupby("policy"):
        assert line(panels["maze"], policy) == pytest.approx(curve[["macs", "accuracy"]].to_numpy()), policy
    assert len(panels["maze"].collections) == 2  # the bands of agent and random alone


def test_training_curves(evidence):
    data, panels = drawn("training_curves", evidence)
    loss = data[(data["dataset"] == "maze") & (data["method"] == "dynalay") & (data["quantity"] == "training loss")]
    assert sorted(loss["seed"].unique()) == [0, 1, 2]
    lines = [found.get_ydata() for found in panels["maze: training loss"].lines]

    def shown(epochs: np.ndarray, numerator: float) -> bool:  # the loss is (1 + seed) / epoch
        return any(len(found) == len(epochs) and np.allclose(found, numerator / epochs) for found in lines)

    assert shown(np.arange(1, 7), 2)  # the mean over seeds 0, 1, 2 of a method without an agent
    assert shown(np.arange(1, 7), 3)  # its seed 2 by itself
    assert shown(np.arange(1, 4), 2)  # dynalay, until its agent learns
    assert loss.loc[loss["epoch"] > 3, "value"].isna().all()
    starts = [found.get_xdata() for found in panels["maze: validation MACs"].lines if len(found.get_xdata()) == 2]
    assert starts
    assert all(list(start) == [3.5, 3.5] for start in starts)


def test_reward(evidence):
    data, panels = drawn("reward", evidence)
    assert sorted(data["epoch"].unique()) == [4, 5, 6]
    lines = [tuple(np.round(found.get_ydata(), 9)) for found in panels["maze"].lines]
    assert lines == [(0.4, 0.5, 0.6), (1.4, 1.5, 1.6), (2.4, 2.5, 2.6), (1.4, 1.5, 1.6)]  # three seeds, their mean


def test_calibration_leaves_out_what_few_samples_say(tmp_path):
    experiment = Experiment(datasets={"maze": True}, samples=40, points=3, seeds=2)
    configuration = experiment.write(tmp_path)
    for run in configuration.runs():
        path = run.folder(tmp_path) / "gains.csv"
        if path.exists():
            gains = pd.read_csv(path)
            gains["samples"] = np.where(gains["layer"] == 1, 40, 20)
            gains.to_csv(path, index=False)
    summary.write(configuration, tmp_path)
    data, panels = drawn("calibration", Evidence(configuration, tmp_path))
    assert set(data["layer"]) == {1}
    assert (data["samples"] == 80).all()  # of two seeds
    assert len(panels) == len(data["method"].unique())


def test_residual_iteration(evidence, tmp_path):
    point = {"dataset": "maze", "method": "dynalay", "seed": 0}
    notes, executions, curves = [], [], []
    for rounds in (0, 1, 2):
        policy = "always" if rounds else "never"
        here = point | {"policy": policy, "operating_point": f"{policy}:{rounds}", "knob": float(rounds)}
        notes.append(here | {"note": "residual2", "samples": 9, "mean": 10.0**-rounds})
        executions.append(here | {"component": "layer2.cell", "executions": 1.0 + 4 * rounds})
        curves.append(here | {"split": "test", "accuracy": 0.5, "macs": 1.0})
    other = Evidence(evidence.configuration, tmp_path)
    lay(other, notes=notes, executions=executions, curves=curves)
    data, panels = drawn("residual_iteration", other)
    expected = np.array([[2, 1, 1], [2, 5, 0.1], [2, 9, 0.01]])
    assert data[["layer", "evaluations", "residual"]].to_numpy() == pytest.approx(expected)
    assert line(panels["maze"], "layer 2") == pytest.approx(expected[:, 1:])
    assert panels["maze"].get_yscale() == "log"


def test_residuals_are_averaged_by_their_logarithms(evidence, tmp_path):
    runs = [{"dataset": "maze", "method": "dynalay", "seed": seed} for seed in (0, 1)]
    point = {"policy": "always", "operating_point": "always:1", "knob": 1.0}
    lay(
        other := Evidence(evidence.configuration, tmp_path),
        notes=[
            run | point | {"note": "residual1", "samples": 9, "mean": mean}
            for run, mean in zip(runs, (1e-1, 1e-3), strict=True)
        ],
        executions=[run | point | {"component": "layer1.cell", "executions": 5.0} for run in runs],
        curves=[run | point | {"split": "test", "accuracy": 0.5, "macs": 1.0} for run in runs],
    )
    (row,) = figures.find("residual_iteration").data(other).itertuples()
    assert row.residual == pytest.approx(1e-2)
    assert row.low * row.high == pytest.approx(1e-4)  # the interval lies evenly about it, as a factor
    assert 0 < row.low < 1e-3


def lay(evidence: Evidence, **tables: list[dict[str, object]]) -> None:
    """Write tables of a summary by hand."""
    summary.write(evidence.configuration, evidence.results)
    for name, rows in tables.items():
        pd.DataFrame(rows).assign(**({"ece": 0.0} if name == "curves" else {})).to_parquet(
            evidence.folder / "summary" / f"{name}.parquet"
        )


def with_fpi(configuration: Configuration, **fpi: tuple[bool, ...]) -> Configuration:
    """The configuration with the parameter `fpi` of some methods set."""
    runs = {
        key: dataclasses.replace(run, method_parameters={"rounds": 4, "fpi": fpi[run.method.replace("-", "_")]})
        if run.method.replace("-", "_") in fpi
        else run
        for key, run in configuration._runs.items()
    }
    return dataclasses.replace(configuration, _runs=runs)


def test_fpi_layers(evidence, tmp_path):
    configuration = with_fpi(evidence.configuration, dynalay=(True, True), dynalay_unrolled=(True, False))
    module = figures.find("fpi_layers")
    assert module.applies(configuration)
    assert not module.applies(evidence.configuration)
    rows = []
    for method, seed, split, (cheap, costly) in (
        ("dynalay", 0, "validation", (0.7, 0.9)), ("dynalay", 0, "test", (0.6, 0.8)),
        ("dynalay-unrolled", 0, "validation", (0.7, 0.6)), ("dynalay-unrolled", 0, "test", (0.5, 0.9)),
    ):  # fmt: skip
        for knob, accuracy in ((1.0, cheap), (2.0, costly)):
            rows.append(
                {"dataset": "maze", "method": method, "seed": seed, "split": split, "policy": "own", "knob": knob,
                 "operating_point": f"own:{knob}", "accuracy": accuracy, "macs": 100 * knob}
            )  # fmt: skip
    other = Evidence(configuration, tmp_path)
    lay(other, curves=rows)
    data, panels = drawn("fpi_layers", other)
    # The point is chosen on validation, the accuracy shown is the test split's.
    accuracy = data[data["quantity"] == "test accuracy (%)"].set_index("fpi_layers")["value"].to_dict()
    assert accuracy == {2: 0.8, 1: 0.5}
    assert line(panels["maze: test accuracy (%)"], "2 FPI layers").tolist() == [[2, 0.8]]
    assert line(panels["maze: MACs per sample"], "1 FPI layers").tolist() == [[1, 100]]


def test_performance_profile_by_hand(tmp_path):
    configuration = Experiment(seeds=2).configuration()
    rows = []

    def run(dataset: str, method: str, seed: int, *points: tuple[float, float, float]) -> None:
        for number, (macs, validation, test) in enumerate(points):
            for split, accuracy in (("validation", validation), ("test", test)):
                rows.append(
                    {"dataset": dataset, "method": method, "seed": seed, "split": split, "policy": "own",
                     "operating_point": f"own:{number}", "knob": number, "accuracy": accuracy, "macs": macs}
                )  # fmt: skip

    for dataset in ("maze", "digits"):
        for seed in (0, 1):
            run(dataset, "resnet14", seed, (100, 0.8, 0.8))
            # Best on validation is too expensive; of the two that fit, validation prefers the second.
            run(dataset, "dynalay", seed, (50, 0.7, 0.9), (90, 0.75, 0.82 if seed else 0.78), (200, 0.95, 0.95))
            run(dataset, "branchynet", seed, (300, 0.99, 0.99))
    evidence = Evidence(configuration, tmp_path)
    lay(evidence, curves=rows)
    scores = performance_profile.margins(evidence.outcomes).set_index(["dataset", "method", "seed"])["margin"]
    assert scores["maze", "dynalay", 0] == pytest.approx(-0.02)
    assert scores["maze", "dynalay", 1] == pytest.approx(0.02)
    assert scores["maze", "branchynet", 0] == -np.inf
    data, panels = drawn("performance_profile", evidence)
    dynalay = data[data["method"] == "dynalay"].set_index("margin")["share"]
    assert dynalay.iloc[0] == 1.0
    assert dynalay[dynalay.index > 0].iloc[0] == 0.5
    assert (data.loc[data["method"] == "branchynet", "share"] == 0).all()
    assert line(panels["all datasets"], "dynalay")[:, 1] == pytest.approx(dynalay.to_numpy())


def test_a_method_with_missing_runs_has_no_profile(evidence):
    data, _ = drawn("performance_profile", evidence)
    assert "resnet8" not in set(data["method"])
    assert "resnet14" in set(data["method"])


def test_accuracy_latency(tmp_path):
    experiment = Experiment(datasets={"maze": True}, samples=40, points=3, seeds=2)
    configuration = experiment.write(tmp_path)
    summary.write(configuration, tmp_path)
    evidence = Evidence(configuration, tmp_path)
    for run in configuration.runs():
        mine = evidence.outcomes.own_points
        mine = mine[(mine["method"] == run.method) & (mine["seed"] == run.seed)]
        timed = [
            {
                "operating_point": point,
                "batch_size": batch,
                "milliseconds_per_sample": macs / 1e6 / batch,
                "device": "cpu",
            }
            for batch in (1, 32)
            for point, macs in zip(mine["operating_point"], mine["macs"], strict=True)
        ]
        pd.DataFrame(timed).to_csv(run.folder(tmp_path) / "latency.csv", index=False)
    data, panels = drawn("accuracy_latency", evidence)
    assert accuracy_latency.timed_seeds(data) == ""
    for run in configuration.runs():
        if run.seed == 1:
            (run.folder(tmp_path) / "latency.csv").unlink()
    assert accuracy_latency.timed_seeds(accuracy_latency.data(evidence)) == "; 1 of 2 seeds timed"
    assert set(panels) == {"maze: batch 1", "maze: batch 32"}
    compute, _ = drawn("accuracy_compute", evidence)
    expected = compute[compute["seed"].isna() & (compute["method"] == "dynalay")].sort_values("macs")
    found = line(panels["maze: batch 32"], "dynalay")
    assert found[:, 0] == pytest.approx(expected["macs"].to_numpy() / 32e6)
    assert found[:, 1] == pytest.approx(expected["accuracy"].to_numpy())


def test_a_panel_is_not_stretched_by_the_poor_end_of_a_curve():
    panel = Figure().subplots()
    accuracy = pd.Series([0.6, 0.9, 0.93, 0.92])
    _style.fit(panel, accuracy)
    assert panel.get_ylim()[0] < 0.6
    _style.fit(panel, accuracy, best=pd.Series([0.92, 0.93]))
    low, high = panel.get_ylim()
    assert 0.9 < low < 0.92  # every method's best is seen, and as much below the least of them as above
    assert 0.93 < high < 0.94
    _style.fit(panel, accuracy, best=pd.Series([0.93]))
    assert panel.get_ylim()[0] < 0.6  # a curve by itself is seen whole


# The gallery


def test_an_image_survives_its_data_uri():
    image = np.random.default_rng(0).integers(0, 256, (3, 5, 7), np.uint8)
    pixels = gallery.decode(gallery.encode(gallery.compose(image, "cifar10")))
    assert np.array_equal(np.round(255 * pixels[..., :3]).astype(np.uint8), image.transpose(1, 2, 0))


def test_channels_are_composed_into_one_picture():
    grey = gallery.compose(np.full((1, 4, 4), 51, np.uint8), "digits")
    assert grey.shape == (4, 4, 3)
    assert (grey == 51).all()
    frames = np.array([[[0, 255, 0, 255]], [[0, 0, 255, 255]]], np.uint8)
    dark, first, second, both = gallery.compose(frames, "ising")[0].tolist()
    assert (dark, both) == ([0, 0, 0], [255, 255, 255])
    assert first[0] > first[2]  # orange
    assert second[2] > second[0]  # blue
    maze = np.array([[[0, 255, 255, 255]], [[0, 255, 0, 255]]], np.uint8)  # a wall, a marker, open, a marker
    wall, one, free, other = gallery.compose(maze, "maze")[0].tolist()
    assert max(wall) < 100 < 200 < min(free)
    assert one == first
    assert other == second


def test_gallery(evidence, monkeypatch):
    images = torch.arange(60, dtype=torch.uint8)[:, None, None, None].expand(60, 1, 3, 3)
    prepared = SimpleNamespace(
        classes=("zero", "one", "two", "three"), name="digits", test=SimpleNamespace(images=images)
    )
    monkeypatch.setattr(Evidence, "dataset", lambda self, label: prepared)
    data = gallery.data(evidence)
    assert set(data["extreme"]) == {"least", "most"}
    assert set(data["method"]) == {"dynalay"}
    spent = data.groupby(["dataset", "extreme"])["macs"].mean()
    assert (spent.xs("least", level="extreme") < spent.xs("most", level="extreme")).all()
    for sample in data.itertuples():  # the picture is the sample's own, and so are its classes
        assert round(255 * gallery.decode(sample.image)[0, 0, 0]) == sample.sample
        assert sample.true_class == prepared.classes[sample.label]
        assert sample.path.split()[0] in "0123"
    with figures.applied():
        picture = gallery.draw(data, style(evidence))
    shown = [np.asarray(panel.images[0].get_array())[0, 0, 0] for panel in picture.axes if panel.images]
    assert sorted(round(255 * float(value)) for value in shown) == sorted(data["sample"])
    below = {text.get_text() for panel in picture.axes for text in panel.texts}
    row = data.iloc[-1]
    assert any(gallery.path_text(row.path) in text for text in below)


def test_a_gallery_leaves_out_datasets_that_are_not_there(evidence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)  # away from what the checkout's data folder may hold
    assert gallery.data(evidence).empty
    assert "is left out: " in capsys.readouterr().out


def test_where_all_samples_cost_the_same_one_row_says_so(evidence):
    image = gallery.encode(np.zeros((2, 2, 3), np.uint8))
    sample = {
        "dataset": "maze",
        "method": "dynalay",
        "image": image,
        "macs": 1000,
        "label": 0,
        "prediction": 1,
        "path": "0",
    }
    sample |= {"true_class": "not joined", "predicted_class": "joined"}
    data = pd.DataFrame([sample | {"extreme": extreme} for extreme in ("least", "most")])
    for macs, rows in ((1000, 1), (2000, 2)):
        data.loc[1, "macs"] = macs
        picture = gallery.draw(data, style(evidence))
        assert len(picture.subfigs) == rows
        assert ("all cost 1 k MACs" in picture.subfigs[0].get_suptitle()) == (rows == 1)
        (panel,) = (panel for panel in picture.subfigs[0].axes if panel.images)
        assert panel.get_title() == "not joined\n→ joined"
        assert panel.texts[0].get_text().endswith("answer at once")


def test_the_path_is_shown_as_the_layers_before_the_answer():
    assert gallery.path_text("1 3 0") == "1·3"
    assert gallery.path_text("1 1 1 1") == "1·1·1·1"
    assert gallery.path_text("0") == "answer at once"
    assert gallery.path_text(None) == ""


# The verb


def test_the_verb_writes_picture_and_data(evidence, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(configurations, "load", lambda path: evidence.configuration)
    arguments = ["--config", "x.yaml", "--results", str(evidence.results), "--width", "column"]
    output = tmp_path / "mine"
    assert command_line.main(["figure", "accuracy_compute", *arguments, "--output", str(output)]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {
        f"mine{s}" for s in (".csv", ".parquet", ".pdf", ".png", ".svg")
    }
    assert len(pd.read_csv(tmp_path / "mine.csv")) == len(figures.find("accuracy_compute").data(evidence))
    assert command_line.main(["figure", "fpi_layers", *arguments]) == 2
    assert "cannot have the figure 'fpi_layers'" in capsys.readouterr().err


def test_what_has_nothing_to_show_says_so(evidence, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(configurations, "load", lambda path: evidence.configuration)
    arguments = ["--config", "x.yaml", "--results", str(evidence.results), "--output", str(tmp_path / "mine")]
    assert command_line.main(["figure", "accuracy_latency", *arguments]) == 0
    assert "accuracy_latency: no finished run has anything to show" in capsys.readouterr().out
    assert pd.read_parquet(tmp_path / "mine.parquet").empty


def test_numbers_on_axes_are_short():
    with figures.applied():
        picture, [(panel, _)] = Style(["a"]).panels(pd.DataFrame({"dataset": ["d"]}))
        _style.counts(panel.xaxis)
        _style.shares(panel.yaxis)
    assert panel.xaxis.get_major_formatter()(1_500_000) == "1.5 M"
    assert panel.yaxis.get_major_formatter()(0.875) == "87.5"
    assert picture.get_figwidth() == figures.WIDTHS["column"]


def test_logarithmic_labels_abreast_are_fewer_than_below_each_other():
    panel = Figure().subplots()
    panel.set(xscale="log", yscale="log", xlim=(0.001, 0.1), ylim=(0.001, 0.1))
    labels = []
    for axis in (panel.xaxis, panel.yaxis):
        _style.decades(axis)
        shown = [place for place in axis.get_majorticklocs() if 0.0009 < place < 0.11]
        labels.append(axis.get_major_formatter().format_ticks(shown))
    assert labels == [["0.001", "0.01", "0.1"], ["0.001", "0.002", "0.005", "0.01", "0.02", "0.05", "0.1"]]


@pytest.mark.parametrize("name", ["$5 bill$", "a$b", "狗", "คน", "\N{DOG FACE}", r"back\slash_{x}"])
def test_names_of_classes_are_drawn_as_they_are(name, tmp_path, caplog):
    """Neither mathematics nor an unknown glyph may stop a figure; warnings are errors here."""
    image = gallery.encode(np.zeros((2, 2, 3), np.uint8))
    sample = {"dataset": "maze", "method": "dynalay", "image": image, "macs": 1000, "label": 0, "prediction": 0}
    sample |= {"true_class": name, "predicted_class": name, "path": "0"}
    data = pd.DataFrame([sample | {"extreme": extreme} for extreme in ("least", "most")])
    write("gallery", data, Style(["dynalay"]), tmp_path / "gallery")
    assert {path.suffix for path in tmp_path.iterdir()} == {".pdf", ".svg", ".png", ".csv", ".parquet"}
    assert not caplog.messages
    with figures.applied():
        picture = gallery.draw(data, Style(["dynalay"]))
        (panel,) = (panel for panel in picture.subfigs[0].axes if panel.images)
        drawn = panel.title
        assert drawn.get_text() == name
        assert not drawn.get_parse_math()


@pytest.mark.parametrize("name", ["agent_controls", "layer_choice", "price"])
def test_several_methods_with_agents_have_a_panel_each(name, evidence, monkeypatch):
    """Whatever their kind: all that figures of agents need is the actions in their records."""
    monkeypatch.setattr(variants, "has_agent", lambda kind: kind in ("dynalay", "branchynet"))
    fresh = Evidence(evidence.configuration, evidence.results)
    data, panels = drawn(name, fresh)
    assert set(data["method"]) == {"branchynet", "dynalay"}  # not its variant
    for method in ("branchynet", "dynalay"):
        assert any(title.startswith(f"maze: {method}") for title in panels)
