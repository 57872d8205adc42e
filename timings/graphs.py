"""What fast inference and CUDA graphs bring: the time of a batch at a method's cheapest point and at full compute.

    python -m timings.graphs --device cuda --config config/fashion.yaml --dataset fashion_mnist
    python -m timings.graphs --methods dynalay resnet20 --batches 1

"plain" runs the components as they are in training, "fast" those of `dynalay.inference`, "graphed" these as CUDA
graphs wherever all samples of a batch are active (on a GPU only). Weights are untrained and images noise, so where a
sample leaves is arbitrary. Wall-clock time, in turns; medians.
"""

import argparse
import statistics
from pathlib import Path

import torch
from torch import Tensor

from benchmark.experiment import configuration
from dynalay.classifier import AdaptiveClassifier, OperatingPoint
from dynalay.meter import Meter
from timings.compaction import on
from timings.saving import stirred


@torch.inference_mode()
def measure(
    model: AdaptiveClassifier, images: Tensor, points: list[OperatingPoint], repeats: int
) -> list[tuple[str, list[float]]]:
    """For the cheapest point and the most expensive: its name, and the milliseconds of each way to run it."""
    device = images.device
    ways = {"plain": model.components(), "fast": model.for_inference().inference_components()}
    if device.type == "cuda":
        ways["graphed"] = model.for_inference(graphed_batches=[len(images)]).inference_components()

    def macs(point: OperatingPoint) -> float:
        meter = Meter(model.components(), len(images), device)
        model.classify(images, point, meter)
        return float(meter.macs(model.component_macs().to(device)).double().mean())

    by_cost = sorted(points, key=macs)
    clock = on(device.type)
    rows = []
    for name, point in (("cheapest", by_cost[0]), ("full", by_cost[-1])):

        def work(way: str, point: OperatingPoint = point) -> object:
            return model.classify(images, point, Meter(ways[way], len(images), device))

        turns = [[clock(lambda way=way: work(way)) for way in ways] for _ in range(5 + repeats)][5:]  # type: ignore[misc]
        rows.append((name, [1e3 * statistics.median(column) for column in zip(*turns, strict=True)]))
    return rows


def main() -> None:
    """Print a row for each method, batch size and point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=Path("config/quick.yaml"), help="(default: config/quick.yaml)")
    parser.add_argument("--dataset", default="digits", help="(default: digits)")
    parser.add_argument("--methods", nargs="+", help="(default: all of the configuration)")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16, 256], help="(default: 1 16 256)")
    parser.add_argument("--device", default="cpu", help="(default: cpu)")
    parser.add_argument("--repeats", type=int, default=30, help="turns (default: 30)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    experiment = configuration.load(arguments.config)
    ways = ["plain", "fast", *(["graphed"] if arguments.device == "cuda" else [])]
    print(f"| network | batch | point | {' | '.join(f'{way}, ms' for way in ways)} | gain |")
    print(f"|---|---|---|{'---|' * len(ways)}---|")
    for method in arguments.methods or experiment.methods:
        run = experiment.run(arguments.dataset, method, experiment.seeds[0])
        model, images, points = stirred(run, max(arguments.batches))
        model, images = model.to(arguments.device), images.to(arguments.device)
        for batch in arguments.batches:
            for name, times in measure(model, images[:batch], points, arguments.repeats):
                cells = " | ".join(f"{each:.2f}" for each in times)
                gain = times[0] / times[-1]
                print(f"| {arguments.dataset}/{method} | {batch} | {name} | {cells} | {gain:.2f} |", flush=True)


if __name__ == "__main__":
    main()
