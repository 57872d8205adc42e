"""What evaluating all operating points of a threshold method costs, in full passes.

    python -m timings.points
    python -m timings.points --config config/fashion.yaml --dataset fashion_mnist --samples 500

`AdaptiveClassifier.classify_at` decides all points from one run of the network; "each really run" is what `classify`
takes for them one by one. A full pass is the network without exits. Weights are untrained and images noise, so where
samples leave is arbitrary; what all points cost from one run does not depend on it. Processor time of one thread, in
turns.
"""

import argparse
import statistics
from pathlib import Path

import torch

from benchmark.experiment import configuration
from benchmark.training.augmentation import normalise
from benchmark.training.building import build_model
from dynalay.meter import Meter
from timings.overhead import CPU, noise, seconds


@torch.inference_mode()
def main() -> None:
    """Print one row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=Path("config/quick.yaml"), help="(default: config/quick.yaml)")
    parser.add_argument("--dataset", default="digits", help="(default: digits)")
    parser.add_argument("--method", default="branchynet", help="(default: branchynet)")
    parser.add_argument("--samples", type=int, default=500, help="in the batch (default: 500)")
    parser.add_argument("--repeats", type=int, default=9, help="turns (default: 9)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    run = configuration.load(arguments.config).run(arguments.dataset, arguments.method, 0)
    dataset = noise(run, arguments.samples)
    model = build_model(run, dataset, CPU).eval()
    images = normalise(dataset.test.images, dataset.mean, dataset.std).contiguous(memory_format=torch.channels_last)
    points = model.operating_points([(images, dataset.test.labels)])
    components = model.components()

    def full() -> None:
        model.classify(images, model.default_point, Meter(components, len(images)))

    def each() -> None:
        for point in points:
            model.classify(images, point, Meter(components, len(images)))

    def together() -> None:
        for _ in model.classify_at(images, points):
            pass

    turns = [[seconds(work) for work in (full, together, each)] for _ in range(1 + arguments.repeats)][1:]
    print("| network | points | full pass, ms | all from one run, full passes | each really run, full passes |")
    print("|---|---|---|---|---|")
    cells = []
    for place in (1, 2):
        ratios = [turn[place] / turn[0] for turn in turns]
        cells.append(f"{statistics.median(ratios):.2f} ({min(ratios):.2f} - {max(ratios):.2f})")
    milliseconds = 1e3 * statistics.median(turn[0] for turn in turns)
    print(f"| {arguments.dataset}/{arguments.method} | {len(points)} | {milliseconds:.0f} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
