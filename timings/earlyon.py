"""Early exit by sample, against the package earlyon, on one trunk, with the same exits and thresholds.

    python -m timings.earlyon
    python -m timings.earlyon --config config/fashion.yaml --dataset fashion_mnist --samples 512

The trunk and the exits are BranchyNet's, and samples leave where the entropy of their answer is low enough. In a batch
earlyon lets all samples leave together, at the first exit at which every one of them is sure; one by one it decides
for each. Thresholds are the median of each exit's entropies. Weights are untrained and images noise. Processor time of
one thread, in turns.
"""

import argparse
import statistics
from pathlib import Path

import torch
from earlyon import EarlyExitConfig, EarlyExitWrapper, ExitPoint
from torch import nn

from baselines.branchynet import BranchyNet, entropy
from benchmark.experiment import configuration
from dynalay import Meter, OperatingPoint
from timings.overhead import seconds
from timings.saving import stirred


def wrapped(model: BranchyNet, thresholds: tuple[float, ...]) -> EarlyExitWrapper:
    """The same network in earlyon."""
    trunk = nn.Sequential(*model.segments, model.head)
    shapes = [component.input_shapes[0] for name, component in model.components().items() if name.startswith("exit")]
    points = [ExitPoint(f"exit{n}", str(n), shape[0]) for n, shape in enumerate(shapes)]
    settings = EarlyExitConfig(
        "branchynet", model.classes, points, entropy_thresholds=list(thresholds), routing_policy="entropy"
    )
    heads = {point.name: branch for point, branch in zip(points, model.branches, strict=True)}
    return EarlyExitWrapper(trunk, heads, nn.Identity(), settings, input_shape=(1, *model.image_shape)).eval()


@torch.inference_mode()
def main() -> None:
    """Print a row for each batch size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=Path("config/quick.yaml"), help="(default: config/quick.yaml)")
    parser.add_argument("--dataset", default="digits", help="(default: digits)")
    parser.add_argument("--samples", type=int, default=512, help="(default: 512)")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 256], help="(default: 1 256)")
    parser.add_argument("--repeats", type=int, default=5, help="turns (default: 5)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    run = configuration.load(arguments.config).run(arguments.dataset, "branchynet", 0)
    model, images, _ = stirred(run, arguments.samples)
    assert isinstance(model, BranchyNet)
    doubts = [entropy(each) for each in model.all_exits(images, Meter(model.components(), len(images)))[:-1]]
    thresholds = tuple(float(doubt.median()) for doubt in doubts)
    theirs, ours = wrapped(model, thresholds), model.for_inference()
    point = OperatingPoint(0.5, setting=thresholds)
    print("| network | batch | earlyon, samples/s | ours, samples/s | times faster |\n|---|---|---|---|---|")
    for batch in arguments.batches:
        parts = images.split(batch)[: max(1, 64 // batch) * 4]
        count = sum(len(part) for part in parts)
        route = theirs if batch == 1 else theirs.forward_inference_batched
        turns = [
            (
                seconds(lambda route=route, parts=parts: [route(part) for part in parts]),  # type: ignore[misc]
                seconds(lambda parts=parts: [ours.predict(part, point=point) for part in parts]),  # type: ignore[misc]
            )
            for _ in range(1 + arguments.repeats)
        ][1:]
        ratios = sorted(slow / fast for slow, fast in turns)
        rates = [f"{count / min(column):.0f}" for column in zip(*turns, strict=True)]
        times = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} - {ratios[-1]:.2f})"
        print(f"| {arguments.dataset}/branchynet | {batch} | {rates[0]} | {rates[1]} | {times} |", flush=True)


if __name__ == "__main__":
    main()
