"""Does saving MACs save time? Speed-up over full compute divided by the ratio of MACs, for every adaptive method.

    python -m timings.saving
    python -m timings.saving --config config/fashion.yaml --dataset fashion_mnist --batches 256 --repeats 5

1 is ideal: half the MACs in half the time. Full compute is the method's most expensive point of its own. Both times are
those of fast inference (`dynalay.inference`); "gain" is how much faster full compute is there than with the components
as they are in training. At batch 1 each image of the batch is classified by itself.

Weights are untrained but for some noise, and images are noise, so where a sample leaves is arbitrary; what time its
compute takes does not depend on that. Processor time of one thread, in turns; minima over the turns.
"""

import argparse
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from benchmark.experiment import configuration
from benchmark.experiment.configuration import Run
from benchmark.training.augmentation import normalise
from benchmark.training.building import build_model
from dynalay.classifier import AdaptiveClassifier, OperatingPoint
from dynalay.meter import Meter
from timings.overhead import CPU, noise, seconds


def stirred(run: Run, images: int) -> tuple[AdaptiveClassifier, Tensor, list[OperatingPoint]]:
    """A run's model with noise on its weights, so that gates and exits differ; images, and its own points."""
    dataset = noise(run, images)
    model = build_model(run, dataset, CPU).eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        size = parameter.std() if parameter.numel() > 1 and parameter.std() > 0 else 0.1
        parameter.data += 0.3 * size * torch.randn(parameter.shape, generator=generator)
    tensors = normalise(dataset.test.images, dataset.mean, dataset.std).contiguous(memory_format=torch.channels_last)
    points = model.operating_points([(tensors, dataset.test.labels)])
    return model, tensors, [point for point in points if point.policy == "own"]


@torch.inference_mode()
def measure(model: AdaptiveClassifier, images: Tensor, points: list[OperatingPoint], batch: int, repeats: int) -> str:
    """The cells of one row."""
    costs, plain, fast = model.component_macs(), model.components(), model.for_inference().inference_components()

    def work(point: OperatingPoint, components: object) -> Tensor:
        spent = []
        for part in images.split(batch):
            meter = Meter(components, len(part))  # type: ignore[arg-type]
            model.classify(part, point, meter)
            spent.append(meter.macs(costs))
        return torch.cat(spent).double().mean()

    macs = {point.name: float(work(point, plain)) for point in points}
    by_cost = sorted(points, key=lambda point: macs[point.name])
    full = by_cost[-1]
    # The cheapest, the middle of the range of MACs, and what lies between.
    wanted = [
        macs[by_cost[0].name] + share * (macs[full.name] - macs[by_cost[0].name]) for share in (0, 0.25, 0.5, 0.75)
    ]
    shown = [min(by_cost, key=lambda point: abs(macs[point.name] - each)) for each in wanted]
    turns = [
        [seconds(partial(work, full, plain)), *(seconds(partial(work, p, fast)) for p in (full, *shown))]
        for _ in range(1 + repeats)
    ][1:]
    before, whole, *parts = (min(column) for column in zip(*turns, strict=True))
    cells = [f"{1e3 * whole * batch / len(images):.2f}", f"{before / whole:.2f}"]
    for point, part in zip(shown, parts, strict=True):
        ratio = macs[full.name] / macs[point.name]
        cells.append(f"{whole / part / ratio:.2f} (at {1 / ratio:.0%}, {part / whole:.0%})")
    return " | ".join(cells)


def main() -> None:
    """Print a row for each method and batch size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=Path("config/quick.yaml"), help="(default: config/quick.yaml)")
    parser.add_argument("--dataset", default="digits", help="(default: digits)")
    parser.add_argument("--methods", nargs="+", help="(default: all adaptive ones of the configuration)")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 256], help="(default: 1 256)")
    parser.add_argument("--repeats", type=int, default=7, help="turns (default: 7)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    experiment = configuration.load(arguments.config)
    methods = arguments.methods or [run.method for run in experiment.runs() if run.dataset == arguments.dataset]
    print("| network | batch | full compute, ms | gain | cheapest | a quarter up | the middle | three quarters up |")
    print("|---|---|---|---|---|---|---|---|")
    for method in dict.fromkeys(methods):
        model, images, points = stirred(experiment.run(arguments.dataset, method, 0), 256)
        if len(points) < 2:
            continue
        for batch in arguments.batches:
            cells = measure(model, images if batch > 1 else images[:48], points, batch, arguments.repeats)
            print(f"| {arguments.dataset}/{method} | {batch} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
