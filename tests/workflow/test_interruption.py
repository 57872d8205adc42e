"""Ctrl-C, as a terminal sends it: to Snakemake and to every process that it started, all at once."""

import json
import os
import signal
import time

import pytest

from tests.workflow.pipeline import jobs, run, start

GRID = """\
experiment: endless
seeds: 2
reference: small
recipe: {epochs: 100000, batch_size: 32}
datasets:
  digits: {parameters: {train_samples: 64, test: 40, validation: 40}}
methods:
  small: {kind: resnet, parameters: {depth: 8, channels: [4, 4, 4]}}
"""
PATIENCE = 600  # seconds: the machine may be busy


@pytest.mark.slow
@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_leaves_checkpoints_and_says_no_more_than_that(tmp_path, presses):
    (tmp_path / "grid.yaml").write_text(GRID)
    folders = [tmp_path / f"results/endless/digits/small/seed{seed}" for seed in (0, 1)]
    with (tmp_path / "log").open("w") as log:
        process = start(tmp_path, "--cores", "2", "--until", "train", log=log)
    deadline = time.monotonic() + PATIENCE
    try:
        while not all((folder / "checkpoint.pt").exists() for folder in folders):
            assert process.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        for _ in range(presses):
            os.killpg(process.pid, signal.SIGINT)
        assert process.wait(PATIENCE) != 0
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)

    output = (tmp_path / "log").read_text()
    assert "Interrupted. The same command continues" in output
    for alarm in ("A job failed", "Error in rule", "Traceback", "WorkflowError"):
        assert alarm not in output
    for folder in folders:
        assert json.loads((folder / "run.json").read_text())["status"] == "interrupted"
        assert (folder / "checkpoint.pt").exists()
    assert not (tmp_path / "results/endless/summary").exists()  # nothing was drawn meanwhile
    assert jobs(run(tmp_path, "--dry-run", "--cores", "2", "--until", "train")[1]) == {"train": 2}
