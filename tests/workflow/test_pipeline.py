"""The whole pipeline on a miniature grid, and what it does when something changes, is missing, fails or is wrong."""

import fcntl
import json
import os
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from benchmark.__main__ import main
from benchmark.evaluation import decisions, records
from tests.workflow.pipeline import ROOT, copy_checkout, jobs, start

GRID = """\
experiment: miniature
seeds: 2
reference: small
latency: true
recipe: {epochs: 1, batch_size: 32}
datasets:
  digits: {parameters: {train_samples: 64, test: 40, validation: 40}}
methods:
  small: {kind: resnet, parameters: {depth: 8, channels: [8, 8, 8]}}
  large: {kind: resnet, parameters: {depth: 8, channels: [16, 16, 16]}}
"""
# The finished grid is made once.
pytestmark = pytest.mark.xdist_group("pipeline")

LARGE = "channels: [16, 16, 16]"
AWKWARD = 'the {} of $HOME\'s "owner" & co'


@pytest.fixture(scope="module")
def finished(run, tmp_path_factory):
    """A finished grid, not to be changed; run with more cores than there are, and with the stand-in for conda.

    Checkout and folder have names as awkward as a shell can meet.
    """
    around = tmp_path_factory.mktemp("finished")
    checkout = around / AWKWARD.format("checkout")
    checkout.symlink_to(ROOT)
    folder = around / AWKWARD.format("folder")
    folder.mkdir()
    (folder / "grid.yaml").write_text(GRID)
    conda = str(Path(__file__).parent / "conda/bin")
    prefix = around / "environments"
    status, output = run(folder, "--cores", "8", "--use-conda", "--conda-prefix", prefix, path=conda, checkout=checkout)
    assert status == 0, output
    return folder


@pytest.fixture
def grid(finished, tmp_path):
    """A copy of the finished grid, to be changed."""
    return Path(shutil.copytree(finished, tmp_path / AWKWARD.format("copy"), copy_function=shutil.copy2))


def results(folder: Path) -> Path:
    return folder / "results/miniature"


@pytest.mark.slow
def test_one_command_ends_with_records_tables_figures_and_a_page(finished):
    made = {str(path.relative_to(results(finished))) for path in results(finished).rglob("*") if path.is_file()}
    runs = [f"digits/{method}/seed{seed}" for method in ("small", "large") for seed in (0, 1)]
    for run_folder in runs:
        assert {f"{run_folder}/{name}" for name in ("records.parquet", "costs.json", "run.json", "train.log")} <= made
    assert {"report.html", "explorer.html", "verdicts.json", "summary/runs.parquet", "tables/area.md"} - made == set()
    assert {f"figures/accuracy_compute{suffix}" for suffix in (".pdf", ".svg", ".png", ".csv")} <= made
    assert "miniature/report.html" in (results(finished).parent / "index.html").read_text()


@pytest.mark.slow
def test_one_seed_of_every_method_is_timed_and_drawn(finished):
    timed = {
        str(path.relative_to(results(finished) / "digits"))
        for path in (results(finished) / "digits").rglob("latency.csv")
    }
    assert timed == {"small/seed0/latency.csv", "large/seed0/latency.csv"}
    drawn = pd.read_csv(results(finished) / "figures/accuracy_latency.csv")
    assert set(zip(drawn["method"], drawn["batch_size"], strict=True)) == {
        (method, size) for method in ("small", "large") for size in (1, 16, 256)
    }


@pytest.mark.slow
def test_timings_are_asked_for_by_the_configuration_alone(run, grid):
    (results(grid) / "digits/small/seed0/latency.csv").unlink()
    assert jobs(run(grid, "--cores", "2", "--dry-run")[1])["time_run"] == 1
    (grid / "grid.yaml").write_text(GRID.replace("latency: true\n", ""))
    assert "time_run" not in jobs(run(grid, "--cores", "2", "--dry-run")[1])
    assert jobs(run(grid, "latency", "--cores", "2", "--dry-run")[1])["time_run"] == 1


@pytest.mark.slow
def test_each_job_computes_with_the_threads_it_was_given(finished):
    threads = [json.loads(path.read_text())["hardware"]["threads"] for path in results(finished).rglob("run.json")]
    assert threads == [1] * 4


@pytest.mark.slow
def test_conda_would_give_every_job_the_one_environment(finished):
    """With the stand-in for conda: what is tested is the wiring, not that the environment can be solved."""
    created = list((finished.parent / "environments").glob("*/created-by-stand-in.yml"))
    assert [path.read_text() for path in created] == [(ROOT / "environment.yml").read_text()]
    activated = (finished / "activations").read_text().splitlines()
    assert {Path(environment).name for environment in activated} == {created[0].parent.name}
    called = (finished / "calls").read_text().splitlines()
    assert set(called) == {str(created[0].parent / "bin/python")}  # jobs ran in it, not beside it
    assert len(called) == len(activated)
    assert (
        len(activated) >= 1 + 4 + 4 + 2 + 5
    )  # data, trainings, evaluations, timings; summary, tables, verdicts, a figure, the page


@pytest.mark.slow
def test_a_second_run_has_nothing_to_do(run, finished):
    status, output = run(finished, "--cores", "2", "--dry-run")
    assert (status, jobs(output)) == (0, {})
    assert "Nothing to be done" in output


@pytest.mark.slow
def test_a_deleted_figure_is_redrawn_alone(run, grid):
    (results(grid) / "figures/accuracy_compute.png").unlink()
    _, output = run(grid, "--cores", "2", "--dry-run")
    assert jobs(output) == {"figure": 1, "page": 1, "start_page": 1, "all": 1}


@pytest.mark.slow
def test_only_the_runs_whose_own_parameters_changed_are_done_again(run, grid):
    (grid / "grid.yaml").write_text(GRID.replace(LARGE, "channels: [16, 16, 8]"))
    _, output = run(grid, "--cores", "2", "--dry-run")
    announced = jobs(output)
    assert (announced["train"], announced["evaluate"], announced["summary"]) == (2, 2, 1)
    assert "data" not in announced
    assert "method=small" not in output


@pytest.mark.slow
def test_a_changed_run_is_recognised_without_snakemakes_notes_and_after_a_move(run, grid):
    shutil.rmtree(grid / ".snakemake")
    (grid / "results").rename(grid / "moved")
    moved = ("--cores", "2", "--dry-run", "--config", "experiment=grid.yaml", "results=./moved/")
    assert "Nothing to be done" in run(grid, *moved)[1]
    (grid / "grid.yaml").write_text(GRID.replace(LARGE, "channels: [16, 16, 8]"))
    status, output = run(grid, *moved)
    announced = jobs(output)
    assert (status, announced["train"], announced["evaluate"], announced["time_run"]) == (0, 2, 2, 1)
    assert (announced["summary"], announced["page"]) == (1, 1)
    (grid / "grid.yaml").write_text(GRID)
    assert "Nothing to be done" in run(grid, *moved)[1]  # asking has changed nothing


@pytest.mark.slow
def test_a_changed_run_is_really_trained_again(run, grid):
    shutil.rmtree(grid / ".snakemake")
    (grid / "grid.yaml").write_text(GRID.replace("seeds: 2", "seeds: 1").replace(LARGE, "channels: [8, 8, 4]"))
    status, output = run(grid, "--cores", "2", "--until", "evaluate")
    assert status == 0, output
    assert jobs(output) == {"changed": 1, "train": 1, "evaluate": 1}
    description = json.loads((results(grid) / "digits/large/seed0/run.json").read_text())
    assert description["method"]["parameters"]["channels"] == [8, 8, 4]
    assert description["status"] == "evaluated"
    assert not (results(grid) / "digits/large/seed0/latency.csv").exists()  # the old network's
    assert {"train", "evaluate"}.isdisjoint(jobs(run(grid, "--cores", "2", "--dry-run")[1]))


@pytest.mark.slow
def test_a_forced_training_is_one_and_nothing_else_claims_its_provenance(run, grid):
    """The description pretends that older code trained: it must go with the weights, and stay with them otherwise."""
    folder = results(grid) / "digits/small/seed0"
    description = json.loads((folder / "run.json").read_text())
    description["code"] = {"commit": "0" * 40, "dirty": False}
    (folder / "run.json").write_text(json.dumps(description))
    records = str((folder / "records.parquet").relative_to(grid))

    status, output = run(grid, "--cores", "2", records, "--forcerun", "evaluate")
    assert status == 0, output
    described = json.loads((folder / "run.json").read_text())
    assert described["code"] == {"commit": "0" * 40, "dirty": False}
    assert described["evaluation"]["code"]["commit"] != "0" * 40

    status, output = run(grid, "--cores", "2", records, "--forcerun", "train")
    assert status == 0, output
    described = json.loads((folder / "run.json").read_text())
    assert described["code"]["commit"] != "0" * 40
    assert described["started"] > description["started"]
    assert "already trained" not in (folder / "train.log").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("source", ["benchmark/figures/price.py", "benchmark/analysis/tables.py", "config/claims.yaml"])
def test_reports_are_made_again_when_what_makes_them_changes(run, grid, tmp_path, source):
    checkout = copy_checkout(tmp_path / "checkout")
    assert "Nothing to be done" in run(grid, "--cores", "2", "--dry-run", checkout=checkout)[1]
    old = (checkout / source).stat()
    with (checkout / source).open("a") as file:
        file.write("\n# a remark\n")
    os.utime(checkout / source, ns=(old.st_atime_ns, old.st_mtime_ns))
    announced = jobs(run(grid, "--cores", "2", "--dry-run", checkout=checkout)[1])
    assert {"summary", "tables", "verdicts", "figure", "page"} <= announced.keys()
    assert {"data", "train", "evaluate", "time_run"}.isdisjoint(announced)


@pytest.mark.slow
def test_data_is_prepared_again_for_another_folder_or_parameter_if_something_needs_it(run, grid):
    elsewhere = ("--cores", "2", "--dry-run", "--config", "experiment=grid.yaml", "data=elsewhere")
    assert "Nothing to be done" in run(grid, *elsewhere)[1]
    (grid / "grid.yaml").write_text(GRID.replace(LARGE, "channels: [16, 16, 8]"))
    assert "data" not in jobs(run(grid, "--cores", "2", "--dry-run")[1])
    assert jobs(run(grid, *elsewhere)[1])["data"] == 1
    (grid / "grid.yaml").write_text(GRID.replace("train_samples: 64", "train_samples: 72"))
    announced = jobs(run(grid, "--cores", "2", "--dry-run")[1])
    assert (announced["data"], announced["train"]) == (1, 4)


@pytest.mark.slow
def test_a_comment_in_the_configuration_trains_nothing(run, grid):
    (grid / "grid.yaml").write_text("# a remark\n" + GRID)
    assert {"data", "train", "evaluate"}.isdisjoint(jobs(run(grid, "--cores", "2", "--dry-run")[1]))


@pytest.mark.slow
def test_snakemakes_own_report_shows_figures_and_tables(run, finished, tmp_path):
    page = tmp_path / "report.html"
    status, output = run(finished, "--report", page)
    assert status == 0, output
    content = page.read_text()
    assert "Test accuracy against" in content  # a figure's caption
    assert all(category in content for category in ("1. Findings", "2. Figures", "3. Tables"))
    assert "01. Accuracy against compute" in content  # the first figure there is the first on the page


@pytest.mark.slow
def test_the_graph_of_rules_can_be_drawn(run, finished):
    status, output = run(finished, "--rulegraph")
    assert status == 0
    assert "digraph snakemake_dag" in output
    assert all(
        f'label = "{rule}"' in output for rule in ("data", "train", "evaluate", "summary", "figure", "page", "all")
    )


@pytest.mark.slow
def test_a_failed_run_leaves_the_rest_standing_with_a_hole(run, grid):
    shutil.rmtree(results(grid) / "digits/large/seed1")
    damaged = results(grid) / "digits/large/seed1/checkpoint.pt"
    damaged.parent.mkdir()
    damaged.write_text("no checkpoint")

    status, output = run(grid, "--cores", "2")
    assert status != 0
    assert "checkpoint.pt is corrupt" in output
    runs = pd.read_parquet(results(grid) / "summary/runs.parquet").set_index(["method", "seed"])
    assert runs["status"].to_dict() == {
        ("small", 0): "done", ("small", 1): "done", ("large", 0): "done", ("large", 1): "failed",
    }  # fmt: skip
    written = (results(grid) / "report.html").stat().st_mtime
    assert written > (results(grid) / "digits/large/seed0/records.parquet").stat().st_mtime
    assert damaged.exists()

    damaged.unlink()  # the remedy that the message names
    announced = jobs(run(grid, "--cores", "2", "--dry-run")[1])
    assert (announced["train"], announced["evaluate"], announced["summary"]) == (1, 1, 1)


@pytest.mark.slow
def test_results_and_data_may_lie_in_folders_with_awkward_names(run, grid):
    named = {name: AWKWARD.format(name) for name in ("results", "data")}
    for name, awkward in named.items():
        (grid / name).rename(grid / awkward)
    experiment = grid / named["results"] / "miniature"
    for leftover in ("summary", "tables", "figures", "logs"):
        shutil.rmtree(experiment / leftover)
    (experiment / "digits/small/seed0/records.parquet").unlink()
    settings = ["experiment=grid.yaml", *(f"{name}={awkward}" for name, awkward in named.items())]
    status, output = run(grid, "--cores", "2", "--config", *settings)
    assert status == 0, output
    assert (experiment / "tables/main_results.md").exists()
    assert "train" not in jobs(output)
    assert sorted(path.name for path in grid.iterdir() if path.name in named) == []


@pytest.mark.slow
def test_two_pipelines_in_one_folder_are_told_apart(run, tmp_path):
    """The first one is held up by a `python` that waits; the second says why it does not start."""
    (tmp_path / "grid.yaml").write_text(GRID)
    slow = tmp_path / "bin/python"
    slow.parent.mkdir()
    gate = tmp_path / "gate"
    with gate.open("w") as closed:
        fcntl.flock(closed, fcntl.LOCK_EX)
        slow.write_text(f"#!/bin/sh\ntouch {tmp_path}/started; exec flock {gate} false\n")
        slow.chmod(0o755)
        first = start(tmp_path, "--cores", "1", path=str(slow.parent), log=subprocess.DEVNULL)
        try:
            while not (tmp_path / "started").exists():
                assert first.poll() is None
            status, output = run(tmp_path, "--cores", "1")
        finally:
            fcntl.flock(closed, fcntl.LOCK_UN)
            first.wait(120)
    assert status != 0
    assert "Directory cannot be locked" in output
    assert "--unlock" in output
    assert str(tmp_path) in output
    assert "Traceback" not in output


@pytest.mark.slow
def test_what_is_published_is_drawn_again_from_its_summary(run, grid):
    options = ["--config", str(grid / "grid.yaml")]
    assert main(["publish", *options, "--results", str(grid / "results"), "--to", str(grid / "published")]) == 0
    published = grid / "published/miniature"
    kept = {path: path.read_bytes() for path in published.rglob("*") if path.is_file()}
    names = {str(path.relative_to(published)) for path in kept}
    assert {
        "digits/small/seed0/model.safetensors",
        "digits/small/seed1/run.json",
        "figures/accuracy_compute.csv",
    } <= names
    assert not {f"digits/small/seed1/{name}" for name in ("model.safetensors", "costs.json", "records.parquet")} & names
    assert {"digits/small/seed0/costs.json", "digits/large/seed0/costs.json"} <= names
    assert "digits/small/seed0/records.parquet" not in names
    fewer = [*options, "--results", str(grid / "results"), "--to", str(grid / "fewer"), "--first-of-kind"]
    assert main(["publish", *fewer]) == 0  # both methods are ResNets
    left_out = names - {str(path.relative_to(grid / "fewer/miniature")) for path in (grid / "fewer").rglob("*")}
    assert left_out == {f"digits/large/seed0/{name}" for name in ("model.safetensors", "config.json", decisions.FILE)}

    again = ["--config", "experiment=grid.yaml", "results=published", "from_summary=true"]
    status, output = run(grid, "--cores", "2", "--forceall", *again)
    assert status == 0, output
    assert [path for path, content in kept.items() if path.read_bytes() != content] == []

    run_of = [*options, "--dataset", "digits", "--method", "large", "--seed", "0", "--data", str(grid / "data")]
    assert main(["evaluate", *run_of, "--results", str(grid / "published")]) == 0
    whole, half = (records.read(folder / "digits/large/seed0/records.parquet") for folder in (results(grid), published))
    assert abs(whole["confidence"] - half["confidence"]).max() < 0.01
