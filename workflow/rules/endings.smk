"""What the pipeline does when it starts, fails or is interrupted."""

import logging
import signal
import subprocess
import sys

from snakemake.logging import logger
from snakemake.settings.types import DeploymentMethod


class Interruption:
    """Ctrl-C, remembered: Snakemake reports stopped jobs as failures, but none has failed."""

    happened = False

    def __call__(self, number, frame):
        if self.happened:
            return  # the first one is being served, and a second would only disturb the tidying up
        self.happened = True
        logger.addFilter(lambda record: record.levelno < logging.ERROR)
        raise KeyboardInterrupt


interruption = Interruption()
if workflow.is_main_process:
    signal.signal(signal.SIGINT, interruption)


if workflow.is_main_process:
    print(f"Experiment {configuration.experiment}: results in {EXPERIMENT}, data in {DATA}", file=sys.stderr)


def announce_device() -> None:
    """Say once for the whole grid where it computes, if nobody has chosen."""
    from benchmark.training.gpu_slots import visible_gpus

    if "device" in config or PARTIAL or not workflow.is_main_process or not workflow.local_exec:
        return
    gpus = visible_gpus()
    chosen = f"{len(gpus)} GPU{'s' * (len(gpus) != 1)} ({', '.join(gpus)})" if gpus else "the CPU, as no GPU is visible"
    print(f"Device: {chosen}; --config device=cpu or device=cuda decides otherwise.", file=sys.stderr)


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
    settings = [f"experiment={CONFIGURATION}", f"results={RESULTS}", f"data={DATA}", "partial=true", f"strict={STRICT}"]
    subprocess.run([*command, "--config", *settings])


onstart:
    forget_older_reports()
    forget_forced_trainings()
    announce_device()


onsuccess:
    if Path(f"{EXPERIMENT}/report.html").exists():
        print(f"The report: {EXPERIMENT}/report.html", file=sys.stderr)


onerror:
    if interruption.happened:
        print("Interrupted. The same command continues where this one stopped.", file=sys.stderr)
    else:
        draw_partial_results()
