"""Copy of an experiment's results what is worth keeping in a repository.

Examples:
  python -m benchmark publish --config config/quick.yaml --to results/reference
  python -m benchmark publish --config config/ablations.yaml --to results/reference --first-of-kind

Kept are the summary, tables, verdicts and pages; the data of the figures, and a few of them as pictures; of each
run its run.json, history and timings; and of the first seed the costs of components, the weights, in half precision,
and the decisions that the explorer shows. Left out are records and logs: from what is kept,
`snakemake ... from_summary=true` draws everything again. An earlier copy is replaced as a whole.
"""

import argparse
import shutil
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from benchmark.analysis.mixed import differing
from benchmark.errors import UserError
from benchmark.evaluation import decisions, gains
from benchmark.experiment import configuration
from benchmark.training import checkpoint
from dynalay.pretrained import CONFIG, WEIGHTS

#: Of the experiment; a pattern that matches nothing is passed over.
OF_EXPERIMENT = (
    "summary/*.parquet", "tables/*", "figures/*.csv", "figures/accuracy_compute.png", "figures/ablations.png",
    "figures/fixed_points.png", "figures/fog.png", "verdicts.json", "findings.json", "report.html", "explorer.html",
)  # fmt: skip
#: Large, and every run's history.csv has it.
REPEATED = ("training_curves.csv",)
OF_EVERY_RUN = ("run.json", "history.csv", gains.FILE, "latency.csv", "resources.csv")
#: All seeds of a method have the same.
OF_THE_FIRST_SEED = ("costs.json",)
TO_RUN_AGAIN = (WEIGHTS, CONFIG, decisions.FILE)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which experiment, from where, and to where."""
    parser.add_argument("--config", type=Path, required=True, help="the experiment's configuration")
    parser.add_argument(
        "--results", type=Path, default=Path("results"), help="folder of all results (default: results)"
    )
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="folder of all published results")
    parser.add_argument(
        "--first-of-kind",
        action="store_true",
        help="keep the weights and decisions only of the first method of each kind; for many variants of few methods",
    )


def main(arguments: argparse.Namespace) -> None:
    """Copy, and say what the copy holds.

    Raises:
        UserError: the results are not complete, or lie where they would be copied to.
    """
    experiment = configuration.load(arguments.config)
    source, target = (folder / experiment.experiment for folder in (arguments.results, arguments.to))
    if source.resolve() == target.resolve():
        raise UserError(f"--to {arguments.to}: these are the results themselves; name another folder.")
    missing = [name for name in ("summary", "tables", "report.html") if not (source / name).exists()]
    if missing:
        raise UserError(
            f"{source} lacks {', '.join(missing)}: run the pipeline first, with results={arguments.results}."
        )
    fresh = target.with_name(f".{target.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    for pattern in OF_EXPERIMENT:
        for path in source.glob(pattern):
            if path.name not in REPEATED:
                _copy(path, fresh / path.relative_to(source))
    first = {(run.dataset, run.method_kind): run.method for run in reversed(experiment.runs())}
    for run in experiment.runs():
        names = [*OF_EVERY_RUN]
        if run.seed == experiment.seeds[0]:
            names += OF_THE_FIRST_SEED
            if not arguments.first_of_kind or first[run.dataset, run.method_kind] == run.method:
                names += TO_RUN_AGAIN
        folder = run.folder(arguments.results)
        for name in names:
            if (folder / name).exists():
                _copy(folder / name, fresh / folder.relative_to(source) / name)
    shutil.rmtree(target, ignore_errors=True)
    fresh.rename(target)
    runs = pd.read_parquet(target / "summary" / "runs.parquet")
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    print(f"{target}: {(runs['status'] == 'done').sum()} of {len(runs)} runs, {size / 1e6:.1f} MB")
    for name, count in differing(runs).items():
        print(f"  the runs differ in {name} ({count} different)")


def _copy(path: Path, copied: Path) -> None:
    copied.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":  # ten times as long to compress, and half as large
        # Dictionaries of numbers that hardly repeat keep zstd from finding what does.
        pq.write_table(pq.read_table(path), copied, compression="zstd", compression_level=19, use_dictionary=False)
    elif path.name == WEIGHTS:
        checkpoint.save_half(path, copied)
    else:
        shutil.copyfile(path, copied)
