"""Reduce the records of all runs to the small tables that everything else is made from.

Examples:
  python -m benchmark summary --config config/quick.yaml

Writes `<results>/<experiment>/summary/*.parquet`.  Records are read one run at a time, so memory does not grow with the
grid; a run that is missing, failed or damaged is a row of `runs.parquet` that says so, and has no row elsewhere.
"""

import argparse
from pathlib import Path

import pandas as pd

from benchmark.analysis.mixed import differing
from benchmark.analysis.summary import write
from benchmark.errors import UserError
from benchmark.experiment import configuration
from benchmark.report.runs import holes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which experiment, and how many processes."""
    parser.add_argument("--config", type=Path, required=True, help="the experiment, such as config/quick.yaml")
    parser.add_argument(
        "--results", type=Path, default=Path("results"), help="folder of all results (default: results)"
    )
    parser.add_argument("--workers", type=int, default=2, help="processes that read records in parallel (default: 2)")
    parser.add_argument(
        "--strict", action="store_true", help="refuse runs that differ in commit, library versions or hardware"
    )


def main(arguments: argparse.Namespace) -> None:
    """Write the summary and list the missing runs.

    Raises:
        UserError: with --strict, the runs differ in commit, library versions or hardware.
    """
    experiment = configuration.load(arguments.config)
    folder = write(experiment, arguments.results, arguments.workers)
    runs = pd.read_parquet(folder / "runs.parquet")
    done = int((runs["status"] == "done").sum())
    print(f"{folder}: {done} of {len(runs)} runs")
    for run in holes(runs):
        print(f"  {run['name']}: {run['status']}" + (f" ({run['error']})" if run["error"] else ""))
    if arguments.strict and (counts := differing(runs)):
        found = ", ".join(f"{name} ({count} different)" for name, count in counts.items())
        raise UserError(
            f"{folder}: the runs differ in {found}; runs.parquet lists them. Retrain the old ones (--forcerun train), "
            "or do without strict=true: tables then mark the numbers that mix them."
        )
