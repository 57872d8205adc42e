"""Draw one figure of an experiment, and save its data alongside.

Examples:
  python -m benchmark figure accuracy_compute --config config/quick.yaml
  python -m benchmark figure gallery --config config/quick.yaml --width column --output paper/gallery

Everything is drawn from the experiment's summary (`python -m benchmark summary`) and from the runs' history.csv,
latency.csv and resources.csv; no model is run.  Written are <output>.pdf, .svg and .png, and the data as <output>.csv
and .parquet.
Where no finished run has anything to show, the data is empty and the picture says so.
"""

import argparse
from pathlib import Path

from benchmark import figures
from benchmark.errors import UserError
from benchmark.experiment import configuration as configurations
from benchmark.figures import Evidence, Style
from benchmark.figures._writing import write


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which figure, of what, where to and how wide."""
    parser.add_argument("name", help=f"one of {', '.join(figures.names())}")
    parser.add_argument("--config", type=Path, required=True, help="the experiment, such as config/quick.yaml")
    parser.add_argument(
        "--results", type=Path, default=Path("results"), help="folder of all results (default: results)"
    )
    parser.add_argument("--data", type=Path, default=Path("data"), help="the folder of all data (default: data)")
    parser.add_argument(
        "--width", choices=tuple(figures.WIDTHS), default="page", help="7 in (page, the default) or 3.3 in"
    )
    parser.add_argument("--output", type=Path, help="without suffix; default: <results>/<experiment>/figures/<name>")


def main(arguments: argparse.Namespace) -> None:
    """Draw the figure and write it."""
    configuration = configurations.load(arguments.config)
    figure = figures.find(arguments.name)
    if not figure.applies(configuration):
        raise UserError(
            f"The experiment {configuration.experiment!r} cannot have the figure {arguments.name!r}; it can have "
            f"{', '.join(figures.applicable(configuration))}."
        )
    evidence = Evidence(configuration, arguments.results, arguments.data)
    output = arguments.output or evidence.folder / "figures" / arguments.name
    data = figure.data(evidence)
    style = Style(configuration.methods, evidence.outcomes.static_methods, arguments.width)
    write(arguments.name, data, style, output)
    print(f"{output}.pdf" if len(data) else f"{arguments.name}: no finished run has anything to show")
