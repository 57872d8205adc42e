"""Throughput of a stream, when a share of the samples leaves at the first exit.

    python -m timings.streaming
    python -m timings.streaming --config config/fashion.yaml --dataset fashion_mnist --size 64

BranchyNet with the first exit's threshold at the quantile at which `--leaving` of the samples leave there, and the
other exits not run. Throughput is that of full compute (nobody leaves early, batches of `--places`) times what the
table says; "of the MAC saving" divides that by the ratio of MACs. Batch by batch, what is left of each batch goes on
alone; `dynalay.stream` joins it with what is left of others. Weights are untrained and images noise. Processor time of
one thread, in turns; medians and ranges.
"""

import argparse
import statistics
from pathlib import Path

import torch

from benchmark.experiment import configuration
from dynalay import OperatingPoint, stream
from timings.overhead import seconds
from timings.saving import stirred


@torch.inference_mode()
def main() -> None:
    """Print one row for each way to run the batches."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=Path("config/quick.yaml"), help="(default: config/quick.yaml)")
    parser.add_argument("--dataset", default="digits", help="(default: digits)")
    parser.add_argument("--leaving", type=float, default=0.75, help="share at the first exit (default: 0.75)")
    parser.add_argument("--samples", type=int, default=2048, help="in the stream (default: 2048)")
    parser.add_argument("--places", type=int, default=256, help="samples at once (default: 256)")
    parser.add_argument("--size", type=int, default=64, help="of the stream's batches (default: 64)")
    parser.add_argument("--repeats", type=int, default=5, help="turns (default: 5)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    run = configuration.load(arguments.config).run(arguments.dataset, "branchynet", 0)
    model, images, _ = stirred(run, arguments.samples)
    fixed = model.for_inference()
    doubts = model.validated([(images, torch.zeros(len(images)))])[:, 0]  # type: ignore[operator]
    threshold = float(doubts.quantile(arguments.leaving))
    point = OperatingPoint(arguments.leaving, setting=(threshold, *(0.0,) * (model.exits - 2)))  # type: ignore[operator]
    never = model.default_point

    def in_batches(each: OperatingPoint, size: int) -> float:
        return sum(float(fixed.predict(part, point=each).macs.sum()) for part in images.split(size))

    def streamed() -> None:
        for _ in stream(fixed, images.split(arguments.size), point=point, places=arguments.places):
            pass

    ratio = in_batches(never, arguments.places) / in_batches(point, arguments.places)
    ways = {
        "full compute": lambda: in_batches(never, arguments.places),
        f"batches of {arguments.places}, one by one": lambda: in_batches(point, arguments.places),
        f"batches of {arguments.size}, one by one": lambda: in_batches(point, arguments.size),
        f"batches of {arguments.size}, streamed": streamed,
    }
    turns = [[seconds(work) for work in ways.values()] for _ in range(1 + arguments.repeats)][1:]
    print(f"{arguments.dataset}, {arguments.leaving:.0%} leaving at the first exit, MAC ratio {ratio:.2f}\n")
    print("| | throughput, full compute = 1 | of the MAC saving |\n|---|---|---|")
    for place, way in enumerate(ways):
        gains = sorted(turn[0] / turn[place] for turn in turns)
        gain = statistics.median(gains)
        print(f"| {way} | {gain:.2f} ({gains[0]:.2f} - {gains[-1]:.2f}) | {gain / ratio:.2f} |")


if __name__ == "__main__":
    main()
