"""What the page of an experiment says, read from its file."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmark import __main__ as command_line
from benchmark.analysis import summary
from benchmark.analysis.formatting import Cell, Metric, Table
from benchmark.analysis.outcomes import Outcomes
from benchmark.analysis.statistics import Estimate
from benchmark.analysis.tables import make
from benchmark.experiment import configuration as configurations
from benchmark.figures import Evidence
from benchmark.report import sentences, sheets
from benchmark.report.chart import most_telling
from benchmark.report.page import Page
from tests.benchmark.synthetic import METHODS, Adaptive, Experiment, Static, Truth


def test_the_page_is_one_small_file_that_fetches_nothing(page):
    text = page.read_text(encoding="utf-8")
    assert len(text) < 10_000_000
    fetched = re.findall(r'\s(?:src|srcset|action|poster)="([^"]*)"', text)
    assert all(value.startswith("data:") for value in fetched)
    # Links lead to files beside the page; none is followed by itself.
    links = [link for link in re.findall(r'\shref="([^"]*)"', text) if not link.startswith(("data:", "#"))]
    assert links
    assert not [link for link in links if link.startswith(("http", "/"))]
    assert "@import" not in text
    assert "sourceMappingURL" not in text
    assert "default-src 'none'" in text


def test_links_lead_to_files_that_exist(page):
    links = set(re.findall(r'\shref="([^"#][^"]*)"', page.read_text(encoding="utf-8"))) - {"data:,"}
    # Other commands make these.
    made_elsewhere = {link for link in links if link.startswith(("tables/", "explorer.html", "../"))}
    assert [link for link in links - made_elsewhere if not (page.parent / link).exists()] == []
    assert "maze/dynalay/seed0/run.json" in links
    assert "maze/dynalay/seed0/history.csv" in links


def test_missing_and_failed_runs_are_named(page):
    text = page.read_text(encoding="utf-8")
    assert "28 of 30" in text
    assert "<code>maze/resnet8/seed2</code>: missing</li>" in text
    assert "<code>digits/branchynet/seed1</code>: failed" in text


def test_what_tuning_changed_is_tabled(page):
    assert "learning_rate 0.004 → 0.01" in page.read_text(encoding="utf-8")


def test_text_of_results_cannot_become_markup(page):
    assert "<img src=x" not in page.read_text(encoding="utf-8")


def test_an_experiment_without_any_result_has_a_page_that_claims_nothing(tmp_path):
    configuration = Experiment().configuration()
    summary.write(configuration, tmp_path)
    page = Page(Evidence(configuration, tmp_path))
    assert page.findings == []
    text = page.html()
    assert "0 of 30" in text
    assert "30 of 30 runs are missing" in text
    assert "No finding yet" in text


def test_without_a_summary_the_remedy_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(configurations, "load", lambda path: Experiment().configuration())
    assert command_line.main(["report", "--config", "x.yaml", "--results", str(tmp_path)]) == 2
    assert "python -m benchmark summary --config x.yaml" in capsys.readouterr().err


def test_the_title_and_the_question_of_the_configuration_stand_first(tmp_path):
    configuration = replace(Experiment().configuration(), title="Two dials", question="Does compute go where it helps?")
    summary.write(configuration, tmp_path)
    text = Page(Evidence(configuration, tmp_path)).html()
    assert (
        text.index("<h1>Two dials</h1>") < text.index("Does compute go where it helps?") < text.index('id="findings"')
    )


# Findings


def findings_of(tmp_path: Path, methods: Mapping[str, Truth], missing: tuple[str, ...] = ()) -> list[str]:
    experiment = Experiment(datasets={"maze": True}, samples=600, points=5, methods=methods, missing=missing)
    configuration = experiment.write(tmp_path)
    summary.write(configuration, tmp_path)
    return Page(Evidence(configuration, tmp_path)).findings


def test_findings_name_the_leader_with_its_number_and_interval(tmp_path):
    best: dict[str, Truth] = {"resnet14": Static(accuracy=0.8), "dynalay": Adaptive(accuracy=0.88)}
    first, *_ = findings_of(tmp_path, methods=best)
    assert re.search(
        r"Within the compute of resnet14: on maze, dynalay is most accurate \(\d\d\.\d\d%, 95% interval [\d. to]+\), "
        r"\d+\.\d points above resnet14\.", first,
    )  # fmt: skip


def test_of_methods_that_cannot_be_told_apart_none_is_ahead(tmp_path):
    same: dict[str, Truth] = {
        "resnet14": Static(),
        "act": Adaptive(accuracy=0.85, gain=0.0, controls=False, kind="act"),
    }
    first, *_ = findings_of(tmp_path, methods=same)
    assert re.search(r"on maze, (act|resnet14) is most accurate \(.*\), level with (act|resnet14)", first)


def test_without_an_agent_convergence_comes_first_as_the_least_of_any_method(monkeypatch):
    outcomes: Any = SimpleNamespace(datasets=["maze"], methods=["static", "a", "b", "c"], seeds=[0, 1])
    shares = {
        ("a", 0): (1.0, 1.0),
        ("a", 1): (0.9, 1.0),
        ("b", 0): (0.99, 0.98),
        ("b", 1): (0.99, 0.9797),
        ("c", 0): (0, 0),
    }
    notes = {("maze", *key): {"converged": first, "held": second} for key, (first, second) in shares.items()}
    monkeypatch.setattr(sentences, "of_runs", lambda outcomes: notes)
    assert sentences.converging(outcomes) == (
        "Convergence: on maze, with each of the 2 methods solved for fixed points, at least 95.0% of test samples "
        "reach them, and at least 97.9% of answers stay the same when iterated four times as long (c not counted: "
        "seeds are missing)."
    )
    notes.update({("maze", method, seed): {"converged": 1.0, "held": 1.0} for method in "bc" for seed in (0, 1)})
    outcomes.methods = ["static", "b", "c"]
    assert "2 methods solved for fixed points, all test samples reach them, and all answers" in sentences.converging(
        outcomes
    )
    monkeypatch.setattr(sentences, "saving", lambda outcomes: "")
    assert sentences.findings(outcomes, [], [])[0].startswith("Convergence")
    assert sentences.findings(outcomes, [], [{"metric": "", "method": "dynalay"}]) == []


def test_a_method_that_lacks_a_run_is_not_in_a_finding_but_named_as_not_counted(tmp_path):
    found = findings_of(tmp_path, methods=dict(METHODS), missing=("maze/dynalay/seed1",))
    assert re.search(r"\(.*dynalay.* not counted: seeds are missing", found[0])
    assert not any(re.search(r"\bdynalay (is|needs)\b", sentence) for sentence in found)


def test_saved_compute_is_that_of_the_cheapest_match(tmp_path):
    good: dict[str, Truth] = {"resnet14": Static(accuracy=0.80), "dynalay": Adaptive(accuracy=0.86)}
    found = findings_of(tmp_path, methods=good)
    # Its direct pass, at 30% of the static network's MACs, is good enough.
    assert re.search(r"on maze, dynalay needs 30% of the MACs of resnet14", found[1])
    poor: dict[str, Truth] = {"resnet14": Static(accuracy=0.9), "dynalay": Adaptive(accuracy=0.6, gain=0.1)}
    found = findings_of(tmp_path / "poor", methods=poor)
    assert found[1] == "To match the best static network: on maze, no adaptive method is accurate enough in every seed."


def test_advice_names_the_cheapest_of_those_that_tie():
    def cell(value, place, macs):
        return {"value": value, "text": f"{100 * value:.2f}", "interval": "", "place": place, "macs": macs}

    board = {
        "dataset": "maze", "reference": "resnet20",
        "rows": [
            {"method": "a", "cells": [cell(0.91, "tie", 500), cell(0.93, "tie", 700), cell(0.94, "first", 900)]},
            {"method": "b", "cells": [cell(0.90, "tie", 400), cell(0.90, "open", 400), cell(0.90, "", 400)]},
        ],
    }  # fmt: skip
    assert sentences.advice([board]) == [
        "On maze, within 50% of the compute of resnet20, use b: 90.00%; level with a, but the cheapest.",
        "On maze, within 75% of the compute of resnet20, use a: 93.00%, though not shown to be ahead of all others.",
        "On maze, within 100% of the compute of resnet20, use a: 94.00%, 4.0 points above b.",
    ]


# Tables


@pytest.fixture(scope="module")
def tables(page):
    return {table.name: sheets.sheet(table) for table in make(Outcomes(page.parent))}


def test_rows_are_sorted_by_accuracy_and_holes_are_last(tables):
    rows = [row for row in tables["main_results"]["rows"] if row["dataset"] == "maze"]
    values = [row["cells"][0]["value"] for row in rows]
    assert values[-1] == ""
    assert values[:-1] == sorted(values[:-1], reverse=True)


def test_a_column_that_says_the_same_in_every_row_is_said_once():
    metrics = {"accuracy": Metric("accuracy", "{:g}".format), "size": Metric("size", "{:g}".format)}
    cells = {
        ("maze", method): {
            "accuracy": Cell(Estimate(accuracy, float("nan"), 1), 1, 1),
            "size": Cell(Estimate(7, float("nan"), 1), 1, 1),
        }
        for method, accuracy in (("a", 1), ("b", 3), ("c", 2))
    }  # fmt: skip
    sheet = sheets.sheet(Table("sizes", "Caption.", metrics, cells))
    assert sheet["headings"] == ["accuracy"]
    assert sheet["caption"] == "Caption. The same in every row: size: 7."
    assert sheet["one_dataset"] == "maze"
    assert [row["method"] for row in sheet["rows"]] == ["b", "c", "a"]


def test_the_chart_opens_where_compute_matters_most():
    def curve(dataset: str, *heights: float) -> dict[str, Any]:
        return {"dataset": dataset, "points": [{"y": height} for height in heights]}

    level, steep = curve("level", 0.99, 0.98, 0.99), curve("steep", 0.6, 0.9)
    for curves in ([level, steep, curve("steep", 0.9)], [steep, level]):
        assert most_telling(curves, ["level", "steep"]) == "steep"
    assert most_telling([], []) == ""
