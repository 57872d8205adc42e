"""Draw one figure of an experiment, and write the data that it shows beside it.

Examples:
  python -m benchmark figure accuracy_compute --config config/quick.yaml
  python -m benchmark figure gallery --config config/quick.yaml --width column --output paper/gallery

Everything is drawn from the experiment's summary (`python -m benchmark summary`) and from the runs' history.csv and
latency.csv; no model is run.  Written are <output>.pdf, .svg and .png, and the data as <output>.csv and .parquet.
Where no finished run has anything to show, the data is empty and the picture says so.
"""

import argparse
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from benchmark import configuration as configurations
from benchmark import figures
from benchmark.errors import UserError
from benchmark.figures import Evidence, Style
from benchmark.files import atomic_write

#: No dates and versions, so that the same data gives the same bytes.
_METADATA = {
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    ".svg": {"Date": None},
    ".png": {"Software": None},
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which figure, of what, where to and how wide."""
    parser.add_argument("name", help=f"one of {', '.join(figures.names())}")
    parser.add_argument("--config", type=Path, required=True, help="the experiment, such as config/quick.yaml")
    parser.add_argument("--results", type=Path, default=Path("results"), help="of all results (default: results)")
    parser.add_argument("--data", type=Path, default=Path("data"), help="of all data (default: data)")
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
    style = Style(configuration.methods, evidence.static_methods, arguments.width)
    write(arguments.name, data, style, output)
    print(f"{output}.pdf" if len(data) else f"{arguments.name}: no finished run has anything to show")


def write(name: str, data: pd.DataFrame, style: Style, output: Path) -> None:
    """Write figure `name` and its `data`, each file atomically, to `output` plus .pdf, .svg, .png, .csv, .parquet."""
    with figures.applied():
        picture = figures.find(name).draw(data, style) if len(data) else _nothing(figures.title(name))
        for suffix, metadata in _METADATA.items():
            with atomic_write(output.with_name(output.name + suffix)) as temporary:
                picture.savefig(temporary, metadata=metadata)
    with atomic_write(output.with_name(output.name + ".csv")) as temporary:
        data.to_csv(temporary, index=False)
    with atomic_write(output.with_name(output.name + ".parquet")) as temporary:
        data.to_parquet(temporary, index=False)


def _nothing(title: str) -> Figure:
    picture = Figure(figsize=(figures.WIDTHS["column"], 0.4))
    picture.text(0.5, 0.5, f"{title}: no finished run has anything to show", ha="center", va="center", fontsize=7)
    return picture
