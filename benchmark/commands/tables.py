"""Make the tables of an experiment: CSV for programs, Markdown for people, LaTeX (booktabs) for papers.

Examples:
  python -m benchmark tables --config config/quick.yaml

Reads `<results>/<experiment>/summary/`, writes `<results>/<experiment>/tables/<table>.{csv,md,tex}`.  Every number is a
mean over all expected seeds with its 95% interval; where a seed is missing, the cell shows how many there are instead.
"""

import argparse
import shutil
from pathlib import Path

from benchmark.analysis.outcomes import Outcomes
from benchmark.analysis.tables import make
from benchmark.experiment import configuration
from benchmark.tuning import table as tuning


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which experiment."""
    parser.add_argument("--config", type=Path, required=True, help="the experiment, such as config/quick.yaml")
    parser.add_argument(
        "--results", type=Path, default=Path("results"), help="folder of all results (default: results)"
    )


def main(arguments: argparse.Namespace) -> None:
    """Write all tables of the experiment, in place of those that are there."""
    experiment = configuration.load(arguments.config)
    folder = arguments.results / experiment.experiment
    tables = make(Outcomes(folder))
    shutil.rmtree(folder / "tables", ignore_errors=True)  # a table that has no row any more is not written over
    for table in tables:
        table.write(folder / "tables")
    if experiment.tuned is not None:
        tuning.write(experiment.tuned.content, folder / "tables")
    print(f"{folder / 'tables'}: {', '.join(table.name for table in tables)}{', tuning' * bool(experiment.tuned)}")
