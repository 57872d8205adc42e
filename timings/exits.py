"""What exits take of a network's time when one sample is classified: a floor for the points that run all of them.

    python -m timings.exits

For each network, the time of its segments and of its early exits as bare modules, in the form that runs in inference,
without any meter, threshold or row between them. A point that runs every exit and lets nobody leave takes at least this
much longer than full compute without exits, whatever the code around them. Weights are untrained and images noise.
Processor time of one thread; medians.
"""

import argparse
import statistics
from pathlib import Path

import torch
from torch import Tensor, nn

from baselines.exits import EarlyExitNetwork
from benchmark.experiment import configuration
from timings.overhead import seconds
from timings.saving import stirred

NETWORKS = (
    ("quick", "maze", "branchynet"),
    ("quick", "digits", "branchynet"),
    ("fashion", "fashion_mnist", "branchynet"),
    ("fashion", "fashion_mnist", "sdn"),
)


@torch.inference_mode()
def row(experiment: str, dataset: str, method: str, calls: int) -> str:
    """The row of one network."""
    model, images, _ = stirred(configuration.load(Path(f"config/{experiment}.yaml")).run(dataset, method, 0), 1)
    assert isinstance(model, EarlyExitNetwork)
    components = model.for_inference().inference_components()

    def microseconds(module: nn.Module, inputs: tuple[Tensor, ...]) -> float:
        module(*inputs)
        return 1e6 * statistics.median(seconds(lambda: module(*inputs)) for _ in range(calls))

    state: tuple[Tensor, ...] = (images,)
    segments, exits = 0.0, []
    for n in range(1, model.exits + 1):
        segment = components[f"segment{n}"].module
        segments += microseconds(segment, state)
        output = segment(*state)
        state = output if isinstance(output, tuple) else (output,)
        if n < model.exits:
            exits.append(microseconds(components[f"exit{n}"].module, state))
    share = sum(exits) / segments
    return f"| {dataset}/{method} | {segments:.0f} | {len(exits)} x {sum(exits) / len(exits):.0f} | {share:.2f} |"


def main() -> None:
    """Print a row for each network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=500, help="of each module (default: 500)")
    calls = parser.parse_args().calls
    torch.set_num_threads(1)
    print("| network | segments, microseconds | exits, microseconds | exits / segments |\n|---|---|---|---|")
    for network in NETWORKS:
        print(row(*network, calls))


if __name__ == "__main__":
    main()
