"""How the memory of a backward pass grows with the iterations of the solve, for the three kinds of gradient.

    python -m timings.memory

"Saved" are the bytes that autograd keeps for the backward pass, each storage counted once, parameters left out.  On a
CUDA device "peak" is the most that was allocated during forward and backward beyond what stood before.
"""

import argparse
from typing import get_args

import torch
from torch import Tensor, nn

from dynalay.fixed_point import SOLVERS, Gradient, Solver
from dynalay.fpi import FPILayer


class Cell(nn.Module):
    """f(z, u) = GN(relu(u + conv(relu(GN(conv(z)))))): a weight-tied residual block on 16 channels."""

    def __init__(self, channels: int = 16) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.GroupNorm(4, channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )
        self.norm = nn.GroupNorm(4, channels)

    def forward(self, z: Tensor, u: Tensor) -> Tensor:
        """The next state, like `z` and `u` [batch, channels, height, width]."""
        return self.norm(torch.relu(u + self.branch(z)))


def make_layer(gradient: Gradient, iterations: int, solver: Solver) -> FPILayer:
    """A layer of which every solve takes exactly so many iterations."""
    torch.manual_seed(0)
    return FPILayer(Cell(), solver=solver, gradient=gradient, relative_tolerance=0.0, max_iterations=iterations)


def saved_bytes(layer: FPILayer, u: Tensor) -> int:
    """Bytes that autograd keeps for the backward pass of `layer` on `u`."""
    parameters = {parameter.untyped_storage().data_ptr() for parameter in layer.parameters()}
    storages: dict[int, torch.UntypedStorage] = {}  # holds them, so that no address is used twice

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            storages[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        layer(u).value.square().mean()
    return sum(storage.nbytes() for storage in storages.values())


def peak_bytes(layer: FPILayer, u: Tensor) -> int:
    """The most that forward and backward of `layer` on `u` allocate on its CUDA device, beyond what stood before."""
    torch.cuda.reset_peak_memory_stats(u.device)
    before = torch.cuda.memory_allocated(u.device)
    layer(u).value.square().mean().backward()
    return torch.cuda.max_memory_allocated(u.device) - before


def main() -> None:
    """Print memory against iterations as a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--solver", choices=SOLVERS, default="picard")
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--size", type=int, default=16, help="height and width of the state")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    u = torch.randn(arguments.samples, 16, arguments.size, arguments.size, device=device, requires_grad=True)
    measures = {"saved": saved_bytes} | ({"peak": peak_bytes} if device.type == "cuda" else {})
    counts = [4, 8, 16, 32, 64]
    print(f"| gradient | MiB | {' | '.join(f'{count} iterations' for count in counts)} | growth |")
    print(f"|---|---|{'---|' * len(counts)}---|")
    for gradient in get_args(Gradient):
        for name, measure in measures.items():
            solver = SOLVERS[arguments.solver]()
            row = [measure(make_layer(gradient, count, solver).to(device), u) / 2**20 for count in counts]
            print(
                f"| {gradient} | {name} | {' | '.join(f'{value:.1f}' for value in row)} | {row[-1] / row[0] - 1:+.0%} |"
            )


if __name__ == "__main__":
    main()
