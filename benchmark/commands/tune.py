"""Choose the best trial of every method on every dataset, once all trials are finished.

Examples:
  snakemake tune --config experiment=config/quick.yaml trials=8     trains all trials, then calls this
  python -m benchmark tune --config config/quick.yaml --trials 8
  python -m benchmark tune --config config/dials.yaml --trials 8 --dataset maze

Trials are judged on the validation split, by the area under accuracy over budgets of compute. Writes
`tuned/<experiment>.yaml` beside the configuration, which can name it under the key `tuned`; and the figure of the best
score so far, `<results>/<experiment>/tuning/tuning.pdf`.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from benchmark import figures
from benchmark.commands.arguments import positive
from benchmark.experiment import configuration
from benchmark.experiment.tuned import Tuned
from benchmark.figures import Evidence, Style
from benchmark.figures._writing import write as write_figure
from benchmark.tuning.choosing import choose, write
from benchmark.tuning.table import text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which experiment, and how many trials."""
    parser.add_argument("--config", type=Path, required=True, help="the experiment, such as config/quick.yaml")
    parser.add_argument(
        "--results", type=Path, default=Path("results"), help="folder of all results (default: results)"
    )
    parser.add_argument(
        "--dataset", action="append", metavar="LABEL", help="tune on this dataset alone; may be repeated (default: all)"
    )
    parser.add_argument("--trials", type=positive, default=8, metavar="N", help="of every method (default: 8)")


def main(arguments: argparse.Namespace) -> None:
    """Write the tuned settings and the figure, and print what changed."""
    experiment = configuration.load(arguments.config, tuned=False)
    datasets = arguments.dataset or experiment.datasets
    chosen = choose(experiment, arguments.results, arguments.trials, datasets)
    path = arguments.config.parent / "tuned" / f"{experiment.experiment}.yaml"
    only = "" if arguments.dataset is None else f" dataset={','.join(datasets)}"
    write(path, chosen, f"snakemake tune --config experiment={arguments.config} trials={arguments.trials}{only}")
    evidence = Evidence(replace(experiment, tuned=Tuned(path, chosen)), arguments.results)
    data = figures.find("tuning").data(evidence)
    write_figure("tuning", data, Style(experiment.methods), evidence.folder / "tuning" / "tuning")
    print(text(chosen).to_string(index=False))
    print(f"\n{path}: to use it, add `tuned: tuned/{path.name}` to {arguments.config}")
