"""Test the claims of `config/claims.yaml` on each dataset.

Examples:
  python -m benchmark verdicts --config config/quick.yaml
  python -m benchmark verdicts --config config/quick.yaml --claims config/claims.yaml

Reads `<results>/<experiment>/summary/`, writes `<results>/<experiment>/verdicts.json`: for each claim and dataset a
verdict (supported, not supported, inconclusive, not tested), the effect with its 95% interval and p-values, or why
there is none.
"""

import argparse
from pathlib import Path

from benchmark.analysis.outcomes import Outcomes
from benchmark.analysis.verdicts import judge, load
from benchmark.experiment import configuration
from benchmark.files import write_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which experiment, and which claims."""
    parser.add_argument("--config", type=Path, required=True, help="the experiment, such as config/quick.yaml")
    parser.add_argument(
        "--results", type=Path, default=Path("results"), help="folder of all results (default: results)"
    )
    parser.add_argument("--claims", type=Path, default=Path("config/claims.yaml"), help="default: config/claims.yaml")


def main(arguments: argparse.Namespace) -> None:
    """Judge the claims, write the verdicts and print them."""
    folder = arguments.results / configuration.load(arguments.config).experiment
    verdicts = judge(Outcomes(folder), load(arguments.claims))
    write_json(folder / "verdicts.json", verdicts)
    for found in verdicts:
        print(
            f"{found['dataset']:<16} {found['claim']:<26} {found['verdict']:<14} "
            + "; ".join(filter(None, (found["reads"], found["reason"])))
        )
