"""A small grid through a real Slurm, while jobs are requeued, killed and stopped by their time limit.

The cluster is `one-node` beside this file: real daemons, imagined GPUs.  Nothing may be lost, and the records must be
those of a local run that nobody disturbed, byte for byte.
"""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import psutil
import pytest
import yaml

from tests.workflow.pipeline import ROOT, start

ONE_NODE = Path(__file__).with_name("one-node")
PATIENCE = 900  # seconds: the machine may be busy

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

#: Long enough to be struck in the middle, on any machine.
GRID = """
experiment: struck
seeds: 4
reference: resnet
recipe: {epochs: 40}
datasets:
  digits:
methods:
  resnet: {parameters: {depth: 8, channels: [8, 8, 8]}}
"""
REQUEUED, KILLED, WARNED, OVERDUE = range(4)


@pytest.fixture(scope="module")
def slurm():
    """A running Slurm; taken down again afterwards."""
    if shutil.which("slurmctld") is None or shutil.which("munged") is None:
        pytest.skip("Slurm is not installed here: tests/slurm/one-node install")
    if os.geteuid() != 0:
        pytest.skip("starting Slurm's daemons takes root")
    subprocess.run([ONE_NODE, "stop"], check=True, timeout=60)  # what a killed test left
    if Path("/etc/slurm/slurm.conf").exists():
        pytest.skip("this machine has a Slurm of its own (/etc/slurm/slurm.conf), which shall not be disturbed")
    try:
        subprocess.run([ONE_NODE, "start"], check=True, timeout=60)
        yield
    finally:
        subprocess.run([ONE_NODE, "stop"], check=True, timeout=60)


def profile(folder: Path) -> Path:
    """The profile that users get, with what it says has to be adapted: to this cluster, and to a test's patience."""
    content = yaml.safe_load((ROOT / "workflow/profiles/slurm/profile.yaml").read_text())
    content["slurm-status-command"] = "squeue"
    content["slurm-init-seconds-before-status-checks"] = 1  # the plugin waits ten longer each time nothing has ended
    content["latency-wait"] = 10
    content["cores"] = content["set-threads"]["train"] = 1
    content["default-resources"] |= {
        "slurm_partition": "main",
        "mem_mb": 1000,
        "device": "'cpu'",
    }  # the GPUs are imagined
    train = content["set-resources"]["train"]
    # One run shall meet its limit without the warning, as if it had not heeded it.
    warning = train["slurm_extra"]
    assert "--signal=USR1@120" in warning
    train |= {"mem_mb": 1000, "slurm_extra": f"'' if wildcards.seed == '{OVERDUE}' else {warning}"}
    content["set-resources"]["evaluate"] |= {"mem_mb": 1000}
    folder.mkdir()
    (folder / "profile.yaml").write_text(yaml.safe_dump(content))
    return folder


def begin(folder: Path, *options: str | Path) -> subprocess.Popen[str]:
    """The pipeline up to the records, in a new folder."""
    folder.mkdir()
    (folder / "grid.yaml").write_text(GRID)
    with (folder / "log").open("w") as log:
        return start(folder, "--until", "evaluate", *options, log=log)


def records(process: subprocess.Popen[str], folder: Path) -> list[bytes]:
    """Every seed's records, once the pipeline has ended well."""
    assert process.wait(PATIENCE) == 0, (folder / "log").read_text()
    return [(run_folder(folder, seed) / "records.parquet").read_bytes() for seed in range(4)]


def run_folder(folder: Path, seed: int) -> Path:
    return folder / f"results/struck/digits/resnet/seed{seed}"


def trainings(folder: Path) -> dict[int, psutil.Process]:
    """The processes that train in `folder` and have something to lose, by seed."""
    found = {}
    for process in psutil.process_iter(["cmdline", "cwd"]):
        command = process.info["cmdline"] or []
        if command[1:4] == ["-m", "benchmark", "train"] and process.info["cwd"] == str(folder):
            seed = int(command[command.index("--seed") + 1])
            if (run_folder(folder, seed) / "checkpoint.pt").exists():
                found[seed] = process
    return found


def strike(process: psutil.Process, seed: int) -> str:
    """Do to a training what its seed is named for; returns the Slurm job that it belongs to."""
    job = process.environ()["SLURM_JOB_ID"]
    if seed == REQUEUED:
        scontrol("requeue", job)
    elif seed == KILLED:
        process.kill()
    else:  # held up, it will not be done in time; Slurm wakes it for its warning, or for its end
        process.suspend()
        # The limits, which are hours, end soon: within two minutes and a half, so that the warning is due, or at once.
        scontrol("update", f"JobId={job}", f"EndTime=now+{90 if seed == WARNED else 1}")
    return job


def scontrol(*arguments: str) -> str:
    return subprocess.run(["scontrol", *arguments], check=True, capture_output=True, text=True).stdout


def test_a_struck_grid_ends_with_the_records_of_an_undisturbed_one(slurm, tmp_path):
    cluster, alone = tmp_path / "cluster", tmp_path / "alone"
    on_slurm = begin(cluster, "--workflow-profile", profile(tmp_path / "profile"))
    try:
        jobs: dict[int, str] = {}
        deadline = time.monotonic() + PATIENCE
        while len(jobs) < 4:
            assert on_slurm.poll() is None, (cluster / "log").read_text()
            assert time.monotonic() < deadline, (cluster / "log").read_text()
            jobs |= {seed: strike(process, seed) for seed, process in trainings(cluster).items() if seed not in jobs}
            time.sleep(0.05)
        undisturbed = records(begin(alone, "--cores", "2"), alone)
        disturbed = records(on_slurm, cluster)
    finally:
        on_slurm.terminate()

    assert disturbed == undisturbed
    for seed in range(4):
        assert json.loads((run_folder(cluster, seed) / "run.json").read_text())["preemptions"] >= 1
    ended = {seed: scontrol("show", "job", job) for seed, job in jobs.items()}
    assert "Restarts=1" in ended[REQUEUED]
    assert "JobState=FAILED" in ended[KILLED]
    assert "Restarts=1" in ended[WARNED]  # it has used up no retry, so what it asked for has not grown
    assert "JobState=COMPLETED" in ended[WARNED]
    assert "JobState=TIMEOUT" in ended[OVERDUE]
