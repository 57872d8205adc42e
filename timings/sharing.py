"""How many runs an hour several processes finish that share one device.

    python -m timings.sharing --device cuda
    python -m timings.sharing --processes 1 2 --depth 8 --steps 10

Each process trains the same small ResNet in the suite's loop, on noise. "Runs an hour" is for runs of 1,250 steps of
128 images, as those of `config/cifar10.yaml`; starting a process, reading data and evaluation come on top.
"""

import argparse
import time
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier

import torch
from torch import multiprocessing

from timings.training import BATCH, CLASSES, SHAPE, suite_loop

STEPS_OF_A_RUN = 1250


def worker(start: Barrier, speeds: "SimpleQueue[float]", device: str, depth: int, steps: int) -> None:
    """Train two epochs and give the images per second of the second."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (BATCH * steps, *SHAPE), generator=generator, dtype=torch.uint8)
    labels = torch.randint(CLASSES, (BATCH * steps,), generator=generator)
    epoch = suite_loop(images, labels, depth, torch.device(device), time.perf_counter)
    epoch()
    start.wait()
    speeds.put(epoch())


def together(processes: int, device: str, depth: int, steps: int) -> float:
    """Images per second of so many processes, all at the same time."""
    context = multiprocessing.get_context("spawn")
    start, speeds = context.Barrier(processes), context.SimpleQueue()
    started = [context.Process(target=worker, args=(start, speeds, device, depth, steps)) for _ in range(processes)]
    for process in started:
        process.start()
    for process in started:
        process.join()
        if process.exitcode:
            raise SystemExit(f"a process ended with status {process.exitcode}; see above")
    return sum(speeds.get() for _ in started)


def main() -> None:
    """Print a row for each number of processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4, 8], help="(default: 1 2 4 8)")
    parser.add_argument("--depth", type=int, default=20, help="of the ResNet (default: 20)")
    parser.add_argument("--steps", type=int, default=100, help="that are timed in each process (default: 100)")
    parser.add_argument("--device", default="cpu", help="(default: cpu)")
    arguments = parser.parse_args()
    print("| processes | images/s | runs an hour | times the first row |\n|---|---|---|---|")
    first = None
    for processes in arguments.processes:
        speed = together(processes, arguments.device, arguments.depth, arguments.steps)
        first = first or speed
        runs = 3600 * speed / (STEPS_OF_A_RUN * BATCH)
        print(f"| {processes} | {speed:.0f} | {runs:.0f} | {speed / first:.2f} |", flush=True)


if __name__ == "__main__":
    main()
