"""Below which share of active rows does it pay to take them out of the batch?

    python -m timings.compaction [--device cuda]

A residual branch of two 3x3 convolutions, once on the active rows alone (taken out, computed, added back) and once on
the whole batch, with a mask for what is not wanted. The crossover is the share at which both take the same time,
interpolated; above it, computing everything would be faster. Processor time of one thread, or time on the GPU, in
turns; minima.
"""

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from dynalay.rows import added, take
from timings.overhead import seconds

SHARES = (0.25, 0.5, 0.75, 0.85, 0.9, 0.95, 0.98)
#: (channels, height and width): of the networks of `fashion`, and of `quick`'s digits.
SHAPES = ((16, 28), (32, 14), (64, 7), (16, 8), (64, 2))


def on(device: str) -> Callable[[Callable[[], object]], float]:
    """Seconds of some work on a device."""
    if device == "cpu":
        return seconds

    def waited(work: Callable[[], object]) -> float:
        torch.cuda.synchronize()
        started = time.perf_counter()
        work()
        torch.cuda.synchronize()
        return time.perf_counter() - started

    return waited


@torch.inference_mode()
def row(channels: int, size: int, batch: int, device: str, repeats: int) -> str:
    """The row of one shape."""
    branch = nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(), nn.Conv2d(channels, channels, 3, padding=1)
    )
    branch = branch.to(device).to(memory_format=torch.channels_last)
    images = torch.randn(batch, channels, size, size, device=device).contiguous(memory_format=torch.channels_last)
    masks = [torch.arange(batch, device=device) < share * batch for share in SHARES]

    def compacted(mask: Tensor) -> Tensor:
        rows = mask.nonzero().squeeze(1)
        return added(images, rows, branch(take(images, rows)))

    def masked(mask: Tensor) -> Tensor:
        return images + mask[:, None, None, None] * branch(images)

    clock, inner = on(device), max(1, 20000 // (channels * size * size))
    turns = []
    for _ in range(1 + repeats):
        everything = clock(lambda: [masked(masks[0]) for _ in range(inner)])
        parts = [clock(lambda mask=mask: [compacted(mask) for _ in range(inner)]) for mask in masks]  # type: ignore[misc]
        turns.append((everything, *parts))
    whole, *parts = (min(column) for column in zip(*turns[1:], strict=True))
    ratios = [part / whole for part in parts]
    above = next((place for place, ratio in enumerate(ratios) if ratio > 1), None)
    if above is None:
        crossover = f"above {SHARES[-1]}"
    elif above == 0:
        crossover = f"below {SHARES[0]}"
    else:
        low, high = ratios[above - 1], ratios[above]
        crossover = f"{SHARES[above - 1] + (SHARES[above] - SHARES[above - 1]) * (1 - low) / (high - low):.2f}"
    cells = " | ".join(f"{ratio:.2f}" for ratio in ratios)
    return f"| {channels} channels, {size}x{size} | {1e3 * whole / inner:.2f} | {cells} | {crossover} |"


def main() -> None:
    """Print a row for each shape."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=9)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"| state | whole batch, ms | {' | '.join(f'{share:.0%}' for share in SHARES)} | crossover |")
    print(f"|---|---|{'---|' * len(SHARES)}---|")
    for channels, size in SHAPES:
        print(row(channels, size, arguments.batch, arguments.device, arguments.repeats), flush=True)


if __name__ == "__main__":
    main()
