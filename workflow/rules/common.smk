"""Names built from the configuration, and what rules take in."""

import os
import shlex
import signal
from functools import cache
from pathlib import Path

# Slurm's warning before a time limit (SIGUSR1) goes to every process of a job.  Only the training acts on it; the Snakemake
# around it must not die of it.
signal.signal(signal.SIGUSR1, signal.SIG_IGN)

# `python -m benchmark` is this checkout's, from whatever folder the pipeline is started, and also in a conda environment.
shell.prefix(f"set -euo pipefail; export PYTHONPATH={shlex.quote(str(workflow.basedir))}; ")

EXPERIMENT = os.path.normpath(f"{RESULTS}/{configuration.experiment}")
DATASET = f"{EXPERIMENT}/{{dataset}}"
RUN = f"{DATASET}/{{method}}/seed{{seed}}"
PREPARED = os.path.normpath(f"{DATA}/prepared")
FIGURE_SUFFIXES = (".pdf", ".png", ".csv", ".parquet", ".svg")
CLAIMS = f"{workflow.basedir}/config/claims.yaml"
ENVIRONMENT = f"{workflow.basedir}/environment.yml"


def options(*arguments: str) -> str:
    """Command-line options for a rule's shell command: quoted for the shell, with braces that Snakemake leaves alone."""
    return shlex.join(arguments).replace("{", "{{").replace("}", "}}")


ALL_RESULTS = options("--results", RESULTS)
WITH_DATA = options("--config", CONFIGURATION, "--data", DATA)
WITH_RESULTS = options("--config", CONFIGURATION, "--results", RESULTS)
WITH_BOTH = options("--config", CONFIGURATION, "--results", RESULTS, "--data", DATA)
OF_DATASET = "--dataset {wildcards.dataset}"
OF_RUN = "--dataset {wildcards.dataset} --method {wildcards.method} --seed {wildcards.seed}"


wildcard_constraints:
    dataset=r"[^/]+",
    method=r"[^/]+",
    seed=r"\d+",
    identity=r"[0-9a-f]{16}",


def device(wildcards, resources) -> str:
    """The device of a run: what `--config device=` says, else what the profile says, else a GPU where there is one."""
    return config.get("device") or resources.get("device", "auto")


def run_of(wildcards):
    """The run that a rule's wildcards name."""
    return configuration.run(wildcards.dataset, wildcards.method, int(wildcards.seed))


@cache
def untuned():
    """The experiment without the tuned settings that it may name: what tuning starts from."""
    return configurations.load(CONFIGURATION, tuned=False)


def trial_of(wildcards):
    """The trial that a rule's wildcards name."""
    from benchmark.tuning.trials import trial  # takes a second that other targets need not spend

    return trial(untuned(), wildcards.dataset, wildcards.method, int(wildcards.number))


def trial_files(wildcards) -> list[str]:
    """What all trials leave. The names carry the trials' identities, so a changed configuration needs other files."""
    from benchmark.tuning.trials import trials

    return [str(trial.points_file(Path(RESULTS))) for trial in trials(untuned(), TRIALS, TUNED_ON)]


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
    """The timings of every dataset and method: one seed's are enough, as time hardly depends on it."""
    runs = [run for run in configuration.runs() if run.seed == configuration.seeds[0]]
    return [f"{run.folder(Path(RESULTS))}/latency.csv" for run in runs]


def fixed_point_resources(wildcards) -> list[str]:
    """What training steps and forward passes take, where methods are solved for fixed points."""
    from benchmark.analysis.variants import fixed_point_methods

    methods = fixed_point_methods(configuration.method_kinds)
    runs = [run for run in configuration.runs() if run.method in methods]
    paths = [f"{run.folder(Path(RESULTS))}/resources.csv" for run in runs]
    return [path for path in paths if Path(path).exists()] if PARTIAL else paths


def asked_timings(wildcards) -> list[str]:
    """The timings that the experiment itself asks for; others are taken by `snakemake latency`."""
    return first_seed_timings(wildcards) if configuration.latency and not PARTIAL else []


def timings(wildcards) -> list[str]:
    """What a figure shows beside the summary: the timings that are asked for, and others taken so far."""
    if wildcards.figure == "fixed_points":
        return fixed_point_resources(wildcards)
    if wildcards.figure != "accuracy_latency":
        return []
    asked = asked_timings(wildcards)
    paths = [f"{run.folder(Path(RESULTS))}/latency.csv" for run in configuration.runs()]
    return asked + [path for path in paths if path not in asked and Path(path).exists()]


def other_findings(wildcards) -> list[str]:
    """What the other experiments of the folder say on the start page."""
    mine = Path(f"{EXPERIMENT}/findings.json")
    return sorted(str(path) for path in Path(RESULTS).glob("*/findings.json") if path != mine)


def figure_labels(wildcards) -> dict[str, str]:
    """A figure's place and title in Snakemake's report: those that it has on the page."""
    from benchmark import figures
    from benchmark.report.pictures import ordered

    names = ordered(list(figures.applicable(configuration)))
    return {"what": f"{1 + names.index(wildcards.figure):02}. {figures.title(wildcards.figure)}"}


def caption(wildcards) -> str:
    """A figure's caption, for Snakemake's report."""
    from benchmark import figures

    return figures.caption(wildcards.figure)
