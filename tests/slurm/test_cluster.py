"""A small grid through a real Slurm, while jobs are requeued, killed and stopped by their time limit.

The cluster is `one-node` beside this file: real daemons, imagined GPUs.  Nothing may be lost, and the records must be
those of a local run that nobody disturbed, byte for byte.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from tests.workflow.pipeline import ROOT, start

ONE_NODE = Path(__file__).with_name("one-node")
PATIENCE = 1200  # seconds: the machine may be busy

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

#: Long enough to be struck in the middle, on any machine.
GRID = """
experiment: struck
seeds: 4
reference: resnet
recipe: {epochs: 60}
datasets:
  digits:
methods:
  resnet: {parameters: {depth: 8, channels: [4, 4, 4]}}
"""
REQUEUED, KILLED, WARNED, OVERDUE = range(4)


@pytest.fixture(scope="module")
def slurm():
    """A running Slurm; taken down again afterwards."""
    if shutil.which("slurmctld") is None or shutil.which("munged") is None:
        pytest.skip("Slurm is not installed here: tests/slurm/one-node install")
    if os.geteuid() != 0:
        pytest.skip("starting Slurm's daemons takes root")
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
    content["slurm-init-seconds-before-status-checks"] = 5
    content["slurm-no-account"] = True
    content["seconds-between-status-checks"] = 3
    content["latency-wait"] = 10
    content["cores"] = content["set-threads"]["train"] = 1
    content["default-resources"] |= {"slurm_partition": "main", "mem_mb": 1000, "runtime": 5}
    train = content["set-resources"]["train"]
    assert "--signal=USR1@" in train["slurm_extra"]
    # One run shall meet its limit without the warning, as if it had not heeded it.
    warned = f"'--signal=USR1@15' if wildcards.seed == '{WARNED}' else ''"
    train |= {"mem_mb": 1000, "runtime": "2 * attempt", "slurm_extra": warned}
    content["set-resources"]["evaluate"] |= {"mem_mb": 1000, "runtime": 1}
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


def training(folder: Path, seed: int) -> int:
    """The process that trains a seed, once it has something to lose."""
    wanted = ["-m", "benchmark", "train", "--dataset", "digits", "--method", "resnet", "--seed", str(seed)]
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if (run_folder(folder, seed) / "checkpoint.pt").exists():
            for process in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError):
                    command = (process / "cmdline").read_text().split("\0")
                    if command[1 : 1 + len(wanted)] == wanted and (process / "cwd").readlink() == folder:
                        return int(process.name)
        time.sleep(0.05)
    raise AssertionError(f"the training of seed {seed} never got anywhere:\n{(folder / 'log').read_text()}")


def job_of(process: int) -> str:
    """The Slurm job that a process belongs to."""
    environment = Path(f"/proc/{process}/environ").read_text().split("\0")
    return next(entry for entry in environment if entry.startswith("SLURM_JOB_ID=")).partition("=")[2]


def state(job: str) -> str:
    return subprocess.run(["scontrol", "show", "job", job], check=True, capture_output=True, text=True).stdout


def test_a_struck_grid_ends_with_the_records_of_an_undisturbed_one(slurm, tmp_path):
    cluster, alone = tmp_path / "cluster", tmp_path / "alone"
    on_slurm = begin(cluster, "--workflow-profile", profile(tmp_path / "profile"))
    job = {}
    try:
        for seed in (OVERDUE, WARNED, KILLED, REQUEUED):
            process = training(cluster, seed)
            job[seed] = job_of(process)
            if seed == REQUEUED:
                subprocess.run(["scontrol", "requeue", job[seed]], check=True)
            else:  # a stopped one will not be done in time; Slurm wakes it for its warning, or for its end
                os.kill(process, signal.SIGKILL if seed == KILLED else signal.SIGSTOP)
        disturbed = records(on_slurm, cluster)
        ended = {seed: state(job[seed]) for seed in job}
    finally:
        on_slurm.terminate()
    undisturbed = records(begin(alone, "--cores", "2"), alone)

    assert disturbed == undisturbed
    for seed in range(4):
        assert json.loads((run_folder(cluster, seed) / "run.json").read_text())["preemptions"] >= 1
    assert "Restarts=1" in ended[REQUEUED]
    assert "JobState=FAILED" in ended[KILLED]
    assert "JobState=FAILED" in ended[WARNED]
    assert "JobState=TIMEOUT" in ended[OVERDUE]
