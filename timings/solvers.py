"""What a solve costs when every sample stops by itself, against one that waits for the batch's worst sample.

    python -m timings.solvers

One batch, a convolutional cell whose rate of convergence differs from sample to sample, Picard iteration in both; the
table holds cell executions (rows) and wall-clock time (the median of several solves).
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from dynalay.fixed_point import solve

Function = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Comparison:
    """Both solvers on one batch.

    Attributes:
        iterations: of each sample, where it stops by itself.
        rows_per_sample: cell rows executed where every sample stops by itself.
        rows_worst_sample: cell rows executed where all wait for the worst.
        seconds_per_sample: of one solve.
        seconds_worst_sample: of one solve.
        largest_difference: of the two answers, relative to the answer's norm, over the samples.
    """

    iterations: Tensor
    rows_per_sample: int
    rows_worst_sample: int
    seconds_per_sample: float
    seconds_worst_sample: float
    largest_difference: float


def solve_together(function: Function, start: Tensor, relative_tolerance: float, max_iterations: int) -> Tensor:
    """The usual solver of deep equilibrium models: all samples iterate until the worst one has converged."""
    rows = torch.arange(len(start), device=start.device)
    z = start
    for _ in range(max_iterations):
        previous, z = z, function(z, rows)
        gap, norm = (z - previous).flatten(1).norm(dim=1), z.flatten(1).norm(dim=1)
        if (gap <= relative_tolerance * norm).all():
            break
    return z


def make_batch(samples: int, channels: int, size: int, device: str) -> tuple[Function, Tensor]:
    """A cell f(z) = rate_i conv(z) + u_i on images, and zeros to start from.

    The kernel averages (it is positive, sums to one, and wraps around), so `rate_i` is the rate at which sample i
    converges.  The rates are spread evenly over [0, 0.82]: 2 to 40 iterations at a relative tolerance of 1e-4.
    """
    generator = torch.Generator().manual_seed(0)
    kernel = torch.rand(channels, channels, 3, 3, generator=generator)
    kernel = (kernel / kernel.sum(dim=(1, 2, 3), keepdim=True)).to(device)
    u = (1 + torch.rand(samples, channels, size, size, generator=generator)).to(device)
    rates = torch.linspace(0, 0.82, samples, device=device).view(-1, 1, 1, 1)

    def function(z: Tensor, rows: Tensor) -> Tensor:
        image = functional.conv2d(functional.pad(z, (1, 1, 1, 1), mode="circular"), kernel)
        return rates[rows] * image + u[rows]

    return function, torch.zeros_like(u)


def timed(call: Callable[[], object], repeats: int, device: str) -> float:
    """The median duration of `call` in seconds, after one call to warm up."""
    durations = []
    for _ in range(repeats + 1):
        begin = time.perf_counter()
        call()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        durations.append(time.perf_counter() - begin)
    return statistics.median(durations[1:])


@torch.no_grad()
def compare(
    samples: int = 128,
    channels: int = 32,
    size: int = 16,
    tolerance: float = 1e-4,
    check_every: int = 1,
    device: str = "cpu",
    repeats: int = 1,
) -> Comparison:
    """Solve one batch both ways."""
    function, start = make_batch(samples, channels, size, device)
    executed = 0

    def counting(z: Tensor, rows: Tensor) -> Tensor:
        nonlocal executed
        executed += len(rows)
        return function(z, rows)

    options: dict[str, Any] = {"relative_tolerance": tolerance, "max_iterations": 100}
    alone = solve(counting, start, check_every=check_every, **options)
    rows_per_sample, executed = executed, 0
    together = solve_together(counting, start, **options)
    difference = (alone.value - together).flatten(1).norm(dim=1) / together.flatten(1).norm(dim=1)
    return Comparison(
        iterations=alone.iterations,
        rows_per_sample=rows_per_sample,
        rows_worst_sample=executed,
        seconds_per_sample=timed(lambda: solve(function, start, check_every=check_every, **options), repeats, device),
        seconds_worst_sample=timed(lambda: solve_together(function, start, **options), repeats, device),
        largest_difference=float(difference.max()),
    )


def main() -> None:
    """Print the comparison as a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=128)
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--size", type=int, default=16, help="height and width of the state")
    parser.add_argument("--tolerance", type=float, default=1e-4)
    parser.add_argument("--check-every", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=5)
    result = compare(**vars(parser.parse_args()))
    iterations = result.iterations
    print(f"iterations: {iterations.min()} to {iterations.max()}, median {iterations.median()}; ", end="")
    print(f"largest relative difference of the answers {result.largest_difference:.1e}; torch {torch.__version__}\n")
    print("| solver | cell rows | time, ms |\n|---|---|---|")
    print(f"| waits for the worst sample | {result.rows_worst_sample} | {1e3 * result.seconds_worst_sample:.1f} |")
    print(f"| per sample | {result.rows_per_sample} | {1e3 * result.seconds_per_sample:.1f} |")
    rows = result.rows_per_sample / result.rows_worst_sample
    print(f"| ratio | {rows:.2f} | {result.seconds_per_sample / result.seconds_worst_sample:.2f} |")


if __name__ == "__main__":
    main()
