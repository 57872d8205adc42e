"""Record what a trained run does with every sample at every operating point.

Examples:
  python -m benchmark evaluate --config config/quick.yaml --dataset digits --method dynalay --seed 0

Reads model.safetensors; writes costs.json and records.parquet, from which every table and figure is made; and
decisions.parquet, from which the explorer shows single decisions. Where an agent predicts the gain of each
layer, gains.csv compares these predictions with the gains that were realised. Operating points are chosen on the
validation split; the test split is read here and nowhere else.
"""

import argparse
import time

from benchmark.commands.arguments import add_run_arguments, named_run, prepared
from benchmark.evaluation import decisions, gains, records
from benchmark.evaluation.recording import evaluate, load_trained, operating_points
from benchmark.experiment import provenance
from benchmark.experiment.attempt import attempt
from benchmark.files import atomic_write, write_json
from benchmark.training.gpu_slots import gpu_slot

#: Batches of evaluation are small already, whatever the recipe's batch_size.
USE_LESS_MEMORY = "evaluate where there is more memory (--device cpu computes in the machine's own)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which run, and where."""
    add_run_arguments(parser)


def main(arguments: argparse.Namespace) -> None:
    """Evaluate the run and write its costs and records."""
    run = named_run(arguments)
    folder = run.folder(arguments.results)
    with attempt(run, folder, USE_LESS_MEMORY), gpu_slot(arguments.device):
        dataset, device = prepared(run, arguments)
        model = load_trained(run, dataset, folder, device)
        provenance.warn_of_changes()
        started = time.perf_counter()
        costs = model.component_costs()
        points = operating_points(model, dataset, device)
        frame = evaluate(model, dataset, device, points)
        write_json(
            folder / "costs.json",
            {name: {"macs": cost.macs, "uncounted": dict(cost.uncounted)} for name, cost in costs.items()},
        )
        decisions.write(folder / decisions.FILE, decisions.trace(model, dataset, device, points, frame))
        if (bins := gains.measure(model, dataset, device, points)) is not None:
            with atomic_write(folder / gains.FILE) as temporary:
                bins.to_csv(temporary, index=False)
        records.write(folder / "records.parquet", frame)
        seconds = time.perf_counter() - started
        provenance.update(
            folder, run, status="evaluated", error=None, evaluation_seconds=round(seconds, 1),
            evaluation=provenance.environment(device),
        )  # fmt: skip
    print(f"{run}: recorded {len(points)} operating points of {len(frame) // len(points)} samples in {seconds:.0f} s")
