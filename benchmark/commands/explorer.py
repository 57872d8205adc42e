"""Write the decision explorer: one page that shows step by step what each method does with a test sample.

Examples:
  python -m benchmark explorer --config config/quick.yaml

Reads the experiment's summary, the decisions.parquet of its runs, and the prepared datasets for their pictures; writes
`<results>/<experiment>/explorer.html`, which needs no other file and no network. Where runs were evaluated before
decisions were kept, or where there are no pictures, the page says so.
"""

import argparse
from pathlib import Path

from benchmark.errors import UserError
from benchmark.experiment import configuration as configurations
from benchmark.figures import Evidence
from benchmark.files import write_text
from benchmark.report.explorer import render


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which experiment."""
    parser.add_argument("--config", type=Path, required=True, help="the experiment, such as config/quick.yaml")
    parser.add_argument(
        "--results", type=Path, default=Path("results"), help="folder of all results (default: results)"
    )
    parser.add_argument("--data", type=Path, default=Path("data"), help="the folder of all data (default: data)")


def main(arguments: argparse.Namespace) -> None:
    """Write the page and say where it is."""
    evidence = Evidence(configurations.load(arguments.config), arguments.results, arguments.data)
    if not (evidence.folder / "summary" / "runs.parquet").exists():
        raise UserError(
            f"No summary in {evidence.folder}; make it: python -m benchmark summary --config {arguments.config}"
        )
    page = evidence.folder / "explorer.html"
    write_text(page, render(evidence))
    print(f"Single decisions are shown in {page.resolve().as_uri()}")
