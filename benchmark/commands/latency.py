r"""Measure a trained run's wall-clock time per sample at the operating points of its curve, on this device.

Examples:
  python -m benchmark latency --config config/quick.yaml --dataset digits --method dynalay --seed 0
  python -m benchmark latency --config config/fashion.yaml --dataset fashion_mnist --method act --seed 0 \
      --batch-sizes 1 128 --threads 1

Fewer MACs save time only as far as the device is kept busy, so several batch sizes are timed. Controls, which decide
at random or by a rule in the method's place, are not timed. Networks run as optimised for inference. Writes latency.csv
into the run's folder: time per sample, percentiles of the time per batch, threads and peak memory. The figure
accuracy_latency shows it. Measure on an idle machine, and raise --samples for meaningful percentiles.
"""

import argparse

import torch
from torch import Tensor

from benchmark.commands.arguments import add_run_arguments, named_run, positive, prepared
from benchmark.data import Dataset
from benchmark.errors import UserError, is_out_of_memory
from benchmark.evaluation import records
from benchmark.evaluation.latency import measure
from benchmark.evaluation.recording import load_trained
from benchmark.experiment import provenance
from benchmark.files import atomic_write
from benchmark.training.batches import batches
from benchmark.training.gpu_slots import gpu_slot


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which run, where, and how it is timed."""
    add_run_arguments(parser)
    parser.add_argument(
        "--batch-sizes", type=positive, nargs="+", default=[1, 16, 256], metavar="N", help="(default: 1 16 256)"
    )
    parser.add_argument(
        "--samples",
        type=positive,
        default=64,
        metavar="N",
        help="validation samples in a timed pass, or one whole batch of them (default: 64)",
    )
    parser.add_argument("--repeats", type=positive, default=3, metavar="N", help="timed passes (default: 3)")


def main(arguments: argparse.Namespace) -> None:
    """Time the run and write its latency.csv."""
    run = named_run(arguments)
    with gpu_slot(arguments.device):
        dataset, device = prepared(run, arguments)
        folder = run.folder(arguments.results)
        model = load_trained(run, dataset, folder, device)
        points = [
            point
            for point in model.operating_points(batches(dataset.validation, dataset, device))
            if point.policy == "own"
        ]
        images = _images(dataset, max(arguments.samples, *arguments.batch_sizes), device)
        passes = {size: images[: max(arguments.samples, size)] for size in arguments.batch_sizes}
        try:
            table = measure(model.for_inference(), points, passes, arguments.repeats)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            raise UserError(f"{run} ran out of memory ({error}); give smaller --batch-sizes.") from None
        hardware = provenance.hardware(device)
    table["device"] = hardware["gpu"] or hardware["processor"]
    code = provenance.code()
    table["commit"] = f"{code['commit']}{' with changes' * bool(code['dirty'])}" if code["commit"] else None
    with atomic_write(folder / "latency.csv") as temporary:
        table.to_csv(temporary, index=False)
    print(f"{run}: timed {len(points)} operating points at batch sizes {', '.join(map(str, arguments.batch_sizes))}")
    recorded = folder / "records.parquet"
    known = set(records.read(recorded, ["operating_point"])["operating_point"].unique()) if recorded.exists() else set()
    if missing := sorted({point.name for point in points} - known):
        # Thresholds are chosen from floats, which another device may round otherwise.
        print(f"{run}: its records lack {', '.join(missing)}, so figures do too; evaluate the run on this device")


def _images(dataset: Dataset, samples: int, device: torch.device) -> Tensor:
    """The first `samples` of the validation split, repeated if it has fewer."""
    images = torch.cat([images for images, _ in batches(dataset.validation, dataset, device)])
    return images[torch.arange(samples, device=device) % len(images)].contiguous(memory_format=torch.channels_last)
