"""The pipeline, run as a user runs it, in a working directory of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[2]


def start(
    folder: Path,
    *options: str | Path,
    path: str = "",
    checkout: Path = ROOT,
    python: Path = Path(sys.executable),
    log: IO[str] | int = subprocess.PIPE,
) -> subprocess.Popen[str]:
    """`snakemake OPTIONS` in `folder`, which must hold grid.yaml; `path` comes before everything else in PATH."""
    # Rules call `python`, which must be this one.  A job of Slurm's must inherit nothing of a job around the tests.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    folders = [path, python.parent, Path(sys.executable).parent, os.environ["PATH"]]
    environment["PATH"] = ":".join(str(each) for each in folders if each)
    command = [python, "-m", "snakemake", "--snakefile", checkout / "Snakefile", *options]
    if "--config" not in options:
        command += ["--config", "experiment=grid.yaml"]
    # A session of its own, so that a test can press Ctrl-C (`os.killpg`) without meaning itself.
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def run(
    folder: Path, *options: str | Path, path: str = "", checkout: Path = ROOT, python: Path = Path(sys.executable)
) -> tuple[int, str]:
    """Exit status and everything printed of `snakemake OPTIONS`; see `start`."""
    process = start(folder, *options, path=path, checkout=checkout, python=python)
    output = process.communicate(timeout=1200)[0]
    return process.returncode, output


def copy_checkout(folder: Path) -> Path:
    """A copy, to be edited, of all that the pipeline consists of."""
    for name in ("baselines", "benchmark", "config", "dynalay", "workflow"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Snakefile", "environment.yml"):
        shutil.copy2(ROOT / name, folder / name)
    (folder / "profiles").symlink_to("workflow/profiles")
    return folder


def jobs(output: str) -> dict[str, int]:
    """How many jobs of each rule a run announces."""
    if "Job stats:" not in output:
        return {}
    table = output.partition("Job stats:")[2].partition("\ntotal")[0].splitlines()[3:]
    return {rule: int(count) for rule, count in (line.split() for line in table)}
