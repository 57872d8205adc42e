"""The pipeline, run as a user runs it, in a working directory of its own."""

import os
import subprocess
import sys
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[2]


def start(
    folder: Path, *options: str | Path, path: str = "", log: IO[str] | int = subprocess.PIPE
) -> subprocess.Popen[str]:
    """`snakemake OPTIONS` in `folder`, which must hold grid.yaml; `path` comes before everything else in PATH."""
    # Rules call `python`, which must be this one.  A job of Slurm's must inherit nothing of a job around the tests.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    environment["PATH"] = f"{path}:{Path(sys.executable).parent}:{os.environ['PATH']}".removeprefix(":")
    command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", *options]
    if "--config" not in options:
        command += ["--config", "experiment=grid.yaml"]
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT, text=True)


def run(folder: Path, *options: str | Path, path: str = "") -> tuple[int, str]:
    """Exit status and everything printed of `snakemake OPTIONS`; see `start`."""
    process = start(folder, *options, path=path)
    output = process.communicate(timeout=1200)[0]
    return process.returncode, output


def jobs(output: str) -> dict[str, int]:
    """How many jobs of each rule a run announces."""
    if "Job stats:" not in output:
        return {}
    table = output.partition("Job stats:")[2].partition("\ntotal")[0].splitlines()[3:]
    return {rule: int(count) for rule, count in (line.split() for line in table)}
