"""Reduce the records of all runs to the small tables that everything else is made from.

Examples:
  python -m benchmark summary --config config/quick.yaml

Writes `<results>/<experiment>/summary/*.parquet`.  Records are read one run at a time, so memory does not grow with the
grid; a run that is missing, failed or damaged is a row of `runs.parquet` that says so, and has no row elsewhere.
"""

import argparse
from pathlib import Path

import pandas as pd

from benchmark.analysis.summary import write
from benchmark.experiment import configuration


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which experiment, and how many processes."""
    parser.add_argument("--config", type=Path, required=True, help="the experiment, such as config/quick.yaml")
    parser.add_argument("--results", type=Path, default=Path("results"), help="of all results (default: results)")
    parser.add_argument("--workers", type=int, default=2, help="processes that read records side by side (default: 2)")


def main(arguments: argparse.Namespace) -> None:
    """Write the summary and list the missing runs."""
    experiment = configuration.load(arguments.config)
    folder = write(experiment, arguments.results, arguments.workers)
    runs = pd.read_parquet(folder / "runs.parquet")
    done = int((runs["status"] == "done").sum())
    print(f"{folder}: {done} of {len(runs)} runs")
    for row in runs[runs["status"] != "done"].itertuples():
        print(f"  {row.dataset}/{row.method}/seed{row.seed}: {row.status}" + (f" ({row.error})" if row.error else ""))
