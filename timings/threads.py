"""How many CPU threads a training step should use, alone and beside other work.

    python -m timings.threads
    OMP_WAIT_POLICY=ACTIVE python -m timings.threads --threads 1 2 --busy 0 1

Steps on one ready batch are timed by the clock; the numbers of threads take turns, and each time is compared with one
thread's in the same turn. "Busy" processes do nothing but compute.
"""

import argparse
import contextlib
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

# As the command line does; OpenMP reads it when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

from benchmark.experiment import configuration
from timings.overhead import loops

RUNS = (
    ("config/quick.yaml", "digits", "resnet8"),
    ("config/quick.yaml", "digits", "dynalay"),
    ("config/fashion.yaml", "fashion_mnist", "resnet20"),
)


def spin() -> None:
    """Keep one processor busy."""
    while True:
        pass


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """So many busy processes."""
    processes = [multiprocessing.Process(target=spin, daemon=True) for _ in range(count)]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.join()


def main() -> None:
    """Print a row for each network and number of busy processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="to be compared (default: 1 2)")
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1], help="busy processes (default: 0 1)")
    parser.add_argument("--repeats", type=int, default=7, help="turns (default: 7)")
    arguments = parser.parse_args()
    heads = [f"{count} threads, times as long" for count in arguments.threads[1:]]
    print(f"| network | busy processes | {arguments.threads[0]} thread, ms a step | {' | '.join(heads)} |")
    print(f"|---|---|---|{'---|' * len(heads)}")
    for path, dataset, method in RUNS:
        run = configuration.load(Path(path)).run(dataset, method, 0)
        _, steps, _ = loops(run, 1)
        for count in arguments.busy:
            with busy(count):
                turns = [[_seconds(steps, threads) for threads in arguments.threads] for _ in range(arguments.repeats)]
            first = statistics.median(turn[0] for turn in turns)
            cells = []
            for place in range(1, len(arguments.threads)):
                ratios = [turn[place] / turn[0] for turn in turns]
                cells.append(f"{statistics.median(ratios):.2f} ({min(ratios):.2f} - {max(ratios):.2f})")
            print(f"| {dataset}/{method} | {count} | {1e3 * first:.0f} | {' | '.join(cells)} |", flush=True)


def _seconds(work: Callable[[], None], threads: int) -> float:
    torch.set_num_threads(threads)
    work()
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
