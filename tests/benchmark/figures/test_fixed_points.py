"""The table and the figure of fixed points, on an experiment whose notes and measurements are known."""

import pandas as pd
import pytest

from benchmark import figures
from benchmark.analysis import summary, tables
from benchmark.figures import Evidence, Style
from tests.benchmark.synthetic import Adaptive, Experiment, Static

METHODS: dict[str, Static | Adaptive] = {
    "static": Static(kind="static"),
    "picard": Adaptive(controls=False, kind="deq"),
    "broyden": Adaptive(controls=False, kind="deq"),
}
CONVERGED = {"picard": 0.9, "broyden": 1.0}


@pytest.fixture
def evidence(tmp_path):
    """Two seeds, of which broyden lacks one; converged and held fall by a point from seed to seed."""
    experiment = Experiment(
        datasets={"maze": True}, methods=METHODS, samples=40, points=3, seeds=2, missing=("maze/broyden/seed1",)
    )
    configuration = experiment.write(tmp_path)
    summary.write(configuration, tmp_path)
    evidence = Evidence(configuration, tmp_path)
    notes = []
    for run in configuration.runs():
        if run.method == "static" or str(run) in experiment.missing:
            continue
        own = evidence.outcomes.own_points
        mine = own[(own["method"] == run.method) & (own["seed"] == run.seed)]
        key = {"dataset": run.dataset, "method": run.method, "seed": run.seed, "samples": 40}
        share = CONVERGED[run.method] - 0.01 * run.seed
        for point in mine.itertuples():
            place = key | {"policy": "own", "operating_point": point.operating_point, "knob": point.knob}
            solved = point.knob == mine["knob"].min()
            notes.append(place | {"note": "converged", "mean": share if solved else 0.0})
            notes.append(place | {"note": "evaluations", "mean": 9.0 if solved else 1.0})
        onwards = key | {"policy": "onwards", "operating_point": "onwards:0", "knob": mine["knob"].min()}
        notes += [onwards | {"note": "held", "mean": share}, onwards | {"note": "converged", "mean": 0.5}]
        measured = {"time_ratio": [6.0, 3.0], "memory_ratio": [4.0, 2.0]}
        resources = pd.DataFrame({"work": ["training", "inference"], **measured})
        resources.to_csv(run.folder(tmp_path) / "resources.csv", index=False)
    pd.DataFrame(notes).to_parquet(evidence.folder / "summary" / "notes.parquet")
    return Evidence(configuration, tmp_path)


def test_the_table_has_what_was_noted_when_solved_to_the_smallest_tolerance(evidence):
    (table,) = [table for table in tables.make(evidence.outcomes) if table.name == "fixed_points"]
    assert set(table.cells) == {("maze", "picard"), ("maze", "broyden")}
    row = table.cells["maze", "picard"]
    picard = {name: cell.estimate.value for name, cell in row.items() if cell.estimate is not None}
    assert picard["converged"] == pytest.approx(0.895)
    assert picard["held"] == pytest.approx(0.895)
    assert picard["evaluations"] == 9
    own = evidence.outcomes.own_points
    own = own[own["method"] == "picard"]
    solved = own.loc[own["knob"] == own["knob"].min(), "accuracy"].mean()
    assert picard["accuracy"] == pytest.approx(solved)
    broyden = table.cells["maze", "broyden"]
    assert broyden["converged"].estimate is None  # a missing seed is a hole
    assert broyden["converged"].seeds == 1


def test_the_figure_shows_every_seed_and_names_what_is_missing(evidence):
    module = figures.find("fixed_points")
    assert module.applies(evidence.configuration)
    data = module.data(evidence)
    means = data[data["seed"].isna()].set_index(["method", "quantity"])["value"]
    assert means["picard", "converged (%)"] == pytest.approx(0.895)
    assert means["picard", "training time"] == 6
    assert means["picard", "inference memory"] == 2
    assert len(data[data["seed"].notna() & (data["quantity"] == "held (%)")]) == 3
    style = Style(evidence.configuration.methods, evidence.outcomes.static_methods, "page")
    with figures.applied():
        panels = {panel.get_title(loc="left"): panel for panel in module.draw(data, style).axes}
    assert len(panels) == 8
    labels = [label.get_text() for label in panels["converged (%)"].get_yticklabels()]
    assert labels == ["static", "picard", "broyden (1/2)"]


def test_one_method_with_fixed_points_has_no_figure_of_them():
    methods = {name: METHODS[name] for name in ("static", "picard")}
    assert not figures.find("fixed_points").applies(Experiment(methods=methods).configuration())
