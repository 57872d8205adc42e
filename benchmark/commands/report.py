"""Write the page that shows an experiment: verdicts, curves, tables, gallery, figures and every run, in one file.

Examples:
  python -m benchmark report --config config/quick.yaml

Reads the experiment's summary, tables, verdicts and figures, and the run.json of its runs; writes
`<results>/<experiment>/report.html`, which needs no other file and no network, and names the runs that are missing or
failed.
"""

import argparse
from pathlib import Path

from benchmark.errors import UserError
from benchmark.experiment import configuration as configurations
from benchmark.figures import Evidence
from benchmark.files import write_text
from benchmark.report.page import render


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which experiment."""
    parser.add_argument("--config", type=Path, required=True, help="the experiment, such as config/quick.yaml")
    parser.add_argument("--results", type=Path, default=Path("results"), help="of all results (default: results)")


def main(arguments: argparse.Namespace) -> None:
    """Write the page and say where it is."""
    evidence = Evidence(configurations.load(arguments.config), arguments.results)
    if not (evidence.folder / "summary" / "runs.parquet").exists():
        raise UserError(
            f"No summary in {evidence.folder}; make it: python -m benchmark summary --config {arguments.config}"
        )
    page = evidence.folder / "report.html"
    write_text(page, render(evidence))
    print(f"The results are in {page.resolve().as_uri()}")
