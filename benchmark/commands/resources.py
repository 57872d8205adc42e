"""Measure time and memory of a training step and a forward pass, relative to the experiment's reference.

Examples:
  python -m benchmark resources --config config/fixed_point.yaml --dataset maze --method picard-implicit --seed 0

Both models work on the same batch in the same process, in turns, so the ratios are meaningful even on a busy
machine. The reference has its initial weights. Writes resources.csv into the run's folder: time and peak memory of
both, and their ratios. The figure fixed_points shows them.
"""

import argparse

from benchmark.commands.arguments import add_run_arguments, named_run, positive, prepared
from benchmark.evaluation.recording import load_trained
from benchmark.evaluation.resources import measure
from benchmark.experiment import configuration, provenance
from benchmark.files import atomic_write
from benchmark.training.batches import batches
from benchmark.training.building import build_model
from benchmark.training.gpu_slots import gpu_slot


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which run, where, and how often it is timed."""
    add_run_arguments(parser)
    parser.add_argument("--repeats", type=positive, default=15, metavar="N", help="timed repetitions (default: 15)")


def main(arguments: argparse.Namespace) -> None:
    """Measure the run and write its resources.csv."""
    run, experiment = named_run(arguments), configuration.load(arguments.config)
    with gpu_slot(arguments.device):
        dataset, device = prepared(run, arguments)
        folder = run.folder(arguments.results)
        model = load_trained(run, dataset, folder, device)
        reference = build_model(experiment.run(run.dataset, experiment.reference, run.seed), dataset, device)
        images, labels = next(batches(dataset.train, dataset, device, run.recipe.batch_size))
        table = measure(model, reference, images, labels, run.recipe, arguments.repeats)
        hardware = provenance.hardware(device)
    table["device"] = hardware["gpu"] or hardware["processor"]
    with atomic_write(folder / "resources.csv") as temporary:
        table.to_csv(temporary, index=False)
    for row in table.itertuples():
        print(
            f"{run}: {row.work} takes {row.time_ratio:.2f} times the time and {row.memory_ratio:.2f} times the memory "
            f"of {experiment.reference}"
        )
