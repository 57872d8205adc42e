"""What is published is what its summary says: drawn again, nothing changes."""

import json
import shutil
import subprocess

import pandas as pd
import pytest

from tests.workflow.pipeline import ROOT

PUBLISHED = ROOT / "results/reference"


def numbers_and_texts(value):
    """A JSON value with its numbers to nine digits, which other processors share."""
    if isinstance(value, dict):
        return {key: numbers_and_texts(each) for key, each in value.items()}
    if isinstance(value, list):
        return [numbers_and_texts(each) for each in value]
    return float(f"{value:.9g}") if isinstance(value, float) else value


@pytest.mark.slow
@pytest.mark.parametrize("experiment", ["fixed_point"])
def test_the_published_results_are_those_of_their_summary(run, experiment, tmp_path):
    shutil.copytree(PUBLISHED / experiment, tmp_path / "results" / experiment)
    status, output = run(
        tmp_path, "--cores", "2", "--forceall", "--config", f"experiment={ROOT}/config/{experiment}.yaml",
        "from_summary=true",
    )  # fmt: skip
    assert status == 0, output
    before, after = PUBLISHED / experiment, tmp_path / "results" / experiment
    for name in ("findings.json", "verdicts.json"):
        assert numbers_and_texts(json.loads((after / name).read_text())) == numbers_and_texts(
            json.loads((before / name).read_text())
        )
    for table in before.glob("tables/*.md"):
        assert (after / "tables" / table.name).read_text() == table.read_text()


@pytest.mark.parametrize("experiment", sorted(path.parent.name for path in PUBLISHED.glob("*/findings.json")))
def test_published_runs_come_from_one_commit_and_none_is_missing_without_a_reason(experiment):
    findings = json.loads((PUBLISHED / experiment / "findings.json").read_text())
    assert len(findings["commits"]) == 1
    assert "dirty" not in str(findings["commits"])
    runs = pd.read_parquet(PUBLISHED / experiment / "summary/runs.parquet")
    others = runs[runs["status"] != "done"]
    assert findings["done"] == findings["runs"] - len(others)
    assert (others["status"] == "failed").all()
    assert others["error"].str.len().gt(20).all()
    assert len(others) < 0.02 * len(runs)


def test_what_is_published_stays_small():
    listed = subprocess.run(["git", "ls-files", "-z", PUBLISHED], cwd=ROOT, capture_output=True, text=True, check=False)
    # Not what was drawn beside it, which git ignores.
    published = [ROOT / name for name in listed.stdout.split("\0") if name] or PUBLISHED.rglob("*")
    assert sum(path.stat().st_size for path in published if path.is_file()) < 60e6
