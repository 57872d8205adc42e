"""What an agent adds to the training of its network, in floating-point operations, backward passes included.

    python -m timings.agent [--config config/quick.yaml] [--data data]

The suite counts training in MACs of forward passes, which is fair between networks, but makes what needs no backward
pass, such as running all plans for DynaLay's agent, weigh three times too much beside training. So here PyTorch counts
every operation of a training step and of settling, forwards and backwards.
"""

import argparse
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmark.data import load, prepare
from benchmark.experiment import configuration
from benchmark.experiment.configuration import Run
from benchmark.training.batches import SettlingBatches, TrainingBatches, divided
from benchmark.training.building import build_model
from benchmark.training.distributed import ALONE
from benchmark.training.loop import forward
from benchmark.training.streams import Streams
from dynalay.classifier import TrainingState


def main() -> None:
    """Print one row for each dataset."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=Path("config/quick.yaml"))
    parser.add_argument("--data", type=Path, default=Path("data"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("| dataset | training, GFLOP | agent, GFLOP | both / training |")
    print("|---|---|---|---|")
    for run in configuration.load(arguments.config).runs():
        if run.method == "dynalay" and run.seed == 0:
            print(row(run, arguments.data), flush=True)


def row(run: Run, data: Path) -> str:
    """The row of one dataset."""
    prepare(run.dataset_kind, run.dataset_parameters, data)
    dataset = load(run.dataset_kind, run.dataset_parameters, data)
    device, recipe = torch.device("cpu"), run.recipe
    streams, model = Streams(run.seed, device), build_model(run, dataset, device).train()
    batches = TrainingBatches(dataset, recipe, streams, device, ALONE, model.held_out)
    images, labels = next(iter(batches.rest_of_epoch(0)))
    macs = model.component_macs()

    def step() -> None:
        loss, _ = forward(model, images, labels, TrainingState(0.5, streams.method, "network"), recipe, macs)
        loss.backward()

    def settle() -> None:
        learnt, unseen = (
            SettlingBatches(dataset, rows, recipe, streams, device, lambda: None)
            for rows in divided(dataset, streams, model.held_out)
        )
        model.settle(learnt, unseen, streams.settling())

    # Paths are drawn, so the mean of some steps.
    with FlopCounterMode(display=False) as counter:
        for _ in range(10):
            step()
    training = counter.get_total_flops() / 10 * recipe.epochs * batches.steps
    model.eval()
    with FlopCounterMode(display=False) as counter:
        settle()
    settling = counter.get_total_flops()
    ratio = (training + settling) / training
    return f"| {run.dataset} | {training / 1e9:.0f} | {settling / 1e9:.0f} | {ratio:.2f} |"


if __name__ == "__main__":
    main()
