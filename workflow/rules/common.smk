"""What is to be done and where: the configuration, checked before anything runs, and the names built from it."""

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

from snakemake.settings.types import DeploymentMethod

from benchmark.experiment import configuration as configurations
from benchmark.errors import UserError

# Slurm's warning before a time limit (SIGUSR1) goes to every process of a job.  Only the training acts on it; the Snakemake
# around it must not die of it.
signal.signal(signal.SIGUSR1, signal.SIG_IGN)

# `python -m benchmark` is this checkout's, from whatever folder the pipeline is started, and also in a conda environment.
shell.prefix(f"set -euo pipefail; export PYTHONPATH={shlex.quote(str(workflow.basedir))}; ")

CONFIGURATION = config.get("experiment", "config/quick.yaml")
RESULTS = config.get("results", "results")
DATA = config.get("data", "data")
# Whether to stop at tables and figures of the records that exist, with the missing runs as visible holes.
PARTIAL = str(config.get("partial", False)).lower() in ("true", "1", "yes")

try:
    configuration = configurations.load(CONFIGURATION)
except UserError as error:  # one message, instead of Snakemake's view of an exception
    sys.exit(f"error: {error}")

EXPERIMENT = f"{RESULTS}/{configuration.experiment}"
DATASET = f"{EXPERIMENT}/{{dataset}}"
RUN = f"{DATASET}/{{method}}/seed{{seed}}"
FIGURE_SUFFIXES = (".pdf", ".png", ".csv", ".parquet", ".svg")
CLAIMS = f"{workflow.basedir}/config/claims.yaml"
ENVIRONMENT = f"{workflow.basedir}/environment.yml"

# Options of the verbs.  They are no `params`: moving the data folder must not train everything again.
WITH_DATA = shlex.join(["--config", CONFIGURATION, "--data", DATA])
WITH_RESULTS = shlex.join(["--config", CONFIGURATION, "--results", RESULTS])
WITH_BOTH = shlex.join(["--config", CONFIGURATION, "--results", RESULTS, "--data", DATA])
OF_DATASET = "--dataset {wildcards.dataset}"
OF_RUN = "--dataset {wildcards.dataset} --method {wildcards.method} --seed {wildcards.seed}"


wildcard_constraints:
    dataset=r"[^/]+",
    method=r"[^/]+",
    seed=r"\d+",


def digest(wildcards) -> str:
    """A hash of the run's resolved parameters: by it, Snakemake does a run again when its own configuration has changed."""
    return configuration.run(wildcards.dataset, wildcards.method, int(wildcards.seed)).digest


def records(wildcards) -> list[str]:
    """The records of every run; of a partial experiment, those that exist."""
    paths = [f"{run.folder(Path(RESULTS))}/records.parquet" for run in configuration.runs()]
    return [path for path in paths if Path(path).exists()] if PARTIAL else paths


def figure_files(wildcards) -> list[str]:
    """All figures that the experiment can have, in every format."""
    # Imported here, since it takes a second that jobs on a cluster's nodes need not spend.
    from benchmark.figures import applicable

    return [f"{EXPERIMENT}/figures/{name}{suffix}" for name in applicable(configuration) for suffix in FIGURE_SUFFIXES]


def first_seed_timings(wildcards) -> list[str]:
    """The timings of every dataset and method: one seed's do, as time hardly depends on it."""
    runs = [run for run in configuration.runs() if run.seed == configuration.seeds[0]]
    return [f"{run.folder(Path(RESULTS))}/latency.csv" for run in runs]


def asked_timings(wildcards) -> list[str]:
    """The timings that the experiment itself asks for; others are taken by `snakemake latency`."""
    return first_seed_timings(wildcards) if configuration.latency and not PARTIAL else []


def timings(wildcards) -> list[str]:
    """What a figure shows beside the summary: the timings that are asked for, and others taken so far."""
    if wildcards.figure != "accuracy_latency":
        return []
    asked = asked_timings(wildcards)
    paths = [f"{run.folder(Path(RESULTS))}/latency.csv" for run in configuration.runs()]
    return asked + [path for path in paths if path not in asked and Path(path).exists()]


def caption(wildcards) -> str:
    """A figure's caption, for Snakemake's report."""
    from benchmark import figures

    return figures.caption(wildcards.figure)


def draw_partial_results() -> None:
    """After a failed run: tables and figures of all the others, by the same rules (`partial=true`)."""
    if PARTIAL or not any(Path(path).exists() for path in records(None)):
        return
    print("A job failed. Tables and figures of what there is, with the missing runs as holes:", file=sys.stderr)
    command = [sys.executable, "-m", "snakemake", "--snakefile", workflow.main_snakefile, "--quiet", "rules"]
    # This process starts no more jobs, but still holds the lock of the working directory.
    command += ["--nolock", "--cores", "all"]
    deployment = workflow.deployment_settings
    if DeploymentMethod.CONDA in deployment.deployment_method:
        command += ["--use-conda", "--conda-prefix", deployment.conda_prefix or ".snakemake/conda"]
    settings = [f"experiment={CONFIGURATION}", f"results={RESULTS}", f"data={DATA}", "partial=true"]
    subprocess.run([*command, "--config", *settings])
