"""What is to be done and where: the configuration, checked before anything runs, and the names built from it."""

import shlex
import signal
import subprocess
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

from benchmark import configuration as configurations
from benchmark.errors import UserError

# Slurm's warning before a time limit (SIGUSR1) goes to every process of a job.  Only the training acts on it; the Snakemake
# around it must not die of it.
signal.signal(signal.SIGUSR1, signal.SIG_IGN)

CONFIGURATION = config.get("experiment", "config/quick.yaml")
RESULTS = config.get("results", "results")
DATA = config.get("data", "data")
# Whether to stop at tables and figures of the records that exist, with the missing runs as visible holes.
PARTIAL = str(config.get("partial", False)).lower() in ("true", "1", "yes")

try:
    configuration = configurations.load(CONFIGURATION)
except UserError as error:
    raise WorkflowError(str(error))

EXPERIMENT = f"{RESULTS}/{configuration.experiment}"
DATASET = f"{EXPERIMENT}/{{dataset}}"
RUN = f"{DATASET}/{{method}}/seed{{seed}}"
ENVIRONMENT = Path(workflow.basedir, "environment.yml")

# Arguments of the verbs.  They are no `params`: moving the data folder must not train everything again.
ON_EXPERIMENT = shlex.join(["--config", CONFIGURATION, "--results", RESULTS])
ON_DATASET = shlex.join(["--config", CONFIGURATION, "--data", DATA]) + " --dataset {wildcards.dataset}"
ON_RUN = f"{ON_EXPERIMENT} --data {shlex.quote(DATA)} " + (
    "--dataset {wildcards.dataset} --method {wildcards.method} --seed {wildcards.seed}"
)


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
    """One file of every figure that the experiment can have.  Imported here: a job on a cluster node need not know."""
    from benchmark.figures import applicable

    return [f"{EXPERIMENT}/figures/{name}.svg" for name in applicable(configuration)]


def draw_what_there_is() -> None:
    """After a failed run: tables and figures of all the others, by the same rules (`partial=true`)."""
    if PARTIAL or not any(Path(path).exists() for path in records(None)):
        return
    print("Some runs failed. Tables and figures of the others, with the failed ones as holes:", file=sys.stderr)
    settings = [f"experiment={CONFIGURATION}", f"results={RESULTS}", f"data={DATA}", "partial=true"]
    command = [sys.executable, "-m", "snakemake", "--snakefile", workflow.main_snakefile]
    # This process still holds the working directory's lock, and starts no more jobs.
    subprocess.run([*command, "--cores", "1", "--nolock", "--quiet", "rules", "--config", *settings])
