"""Compare two result folders side by side: before and after a change, or yours and a published reference.

Examples:
  python -m benchmark compare results/quick results/reference/quick
  python -m benchmark compare results/before results/after --output comparison

Each folder is an experiment's, with its `summary/`.  For every dataset and method, each run is taken at its operating
point of highest validation accuracy.  Where both folders hold the same seeds and the same test samples, differences are
paired by them; elsewhere runs are independent.  Printed as Markdown; --output also writes <output>.csv, .md and .tex.
"""

import argparse
from pathlib import Path

from benchmark.analysis.comparison import compare
from benchmark.analysis.outcomes import Outcomes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The two folders."""
    parser.add_argument("a", type=Path, metavar="A", help="an experiment's folder, such as results/quick")
    parser.add_argument("b", type=Path, metavar="B", help="another, whose difference to A is shown")
    parser.add_argument("--output", type=Path, help="without suffix; where to write the table")


def main(arguments: argparse.Namespace) -> None:
    """Print the comparison, and write it if asked to."""
    name = "comparison" if arguments.output is None else arguments.output.name
    table = compare(Outcomes(arguments.a), Outcomes(arguments.b), name)
    print(f"A: {arguments.a}\nB: {arguments.b}\n\n{table.markdown()}", end="")
    if arguments.output is not None:
        table.write(arguments.output.parent)
