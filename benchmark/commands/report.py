"""Write an experiment's page, or the start page over all experiments.

Examples:
  python -m benchmark report --config config/quick.yaml
  python -m benchmark report --results results

With --config: reads the experiment's summary, tables, verdicts and figures; writes `report.html` and, for the start
page, `findings.json` into `<results>/<experiment>/`. Without it: writes `<results>/index.html` from the `findings.json`
of all experiments. The pages work offline, and list missing and failed runs.
"""

import argparse
from pathlib import Path

from benchmark.errors import UserError
from benchmark.experiment import configuration as configurations
from benchmark.figures import Evidence
from benchmark.files import write_json, write_text
from benchmark.report.page import Page
from benchmark.report.start import SUMMARY, start_page
from benchmark.report.templating import plain


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which experiment."""
    parser.add_argument("--config", type=Path, help="the experiment, such as config/quick.yaml")
    parser.add_argument(
        "--results", type=Path, default=Path("results"), help="folder of all results (default: results)"
    )


def main(arguments: argparse.Namespace) -> None:
    """Write the page and say where it is."""
    if arguments.config is None:
        start = arguments.results / "index.html"
        write_text(start, start_page(arguments.results))
        print(f"All experiments are in {start.resolve().as_uri()}")
        return
    evidence = Evidence(configurations.load(arguments.config), arguments.results)
    if not (evidence.folder / "summary" / "runs.parquet").exists():
        raise UserError(
            f"No summary in {evidence.folder}; make it: python -m benchmark summary --config {arguments.config}"
        )
    page = Page(evidence)
    write_text(evidence.folder / "report.html", page.html())
    write_json(evidence.folder / SUMMARY, plain(page.summary()))
    print(f"The results are in {(evidence.folder / 'report.html').resolve().as_uri()}")
