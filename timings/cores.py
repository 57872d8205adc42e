"""Whether more `--cores` than the machine has processors slow a grid down.

    python -m timings.cores
    python -m timings.cores --cores 2 8 --runs 8 --repeats 5

A miniature grid is trained from nothing, with each number of cores in turn and the order reversed every time, so that
what else the machine has to do falls on all alike; each time is compared with the first number's in the same turn.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import yaml

from tests.workflow.pipeline import run


def seconds(folder: Path, cores: int, name: str, until: str = "train") -> float:
    """Wall-clock seconds in which the grid of `folder` is trained with so many cores, into results of that name."""
    settings = ["--config", "experiment=grid.yaml", f"results={name}"]
    started = time.perf_counter()
    status, output = run(folder, "--cores", str(cores), "--until", until, *settings)
    taken = time.perf_counter() - started
    if status:
        sys.exit(output)
    return taken


def main() -> None:
    """Print a row for each number of cores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cores", type=int, nargs="+", default=[2, 8], help="to be compared (default: 2 8)")
    parser.add_argument("--runs", type=int, default=6, help="of the grid (default: 6)")
    parser.add_argument("--epochs", type=int, default=10, help="of each run (default: 10)")
    parser.add_argument("--repeats", type=int, default=4, help="turns (default: 4)")
    arguments = parser.parse_args()
    grid = {
        "experiment": "cores",
        "seeds": arguments.runs,
        "reference": "resnet8",
        "recipe": {"epochs": arguments.epochs},
        "datasets": {"digits": {}},
        "methods": {"resnet8": {"kind": "resnet", "parameters": {"depth": 8}}},
    }
    times: dict[int, list[float]] = {cores: [] for cores in arguments.cores}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "grid.yaml").write_text(yaml.safe_dump(grid))
        seconds(folder, 1, "first", until="data")
        for turn in range(arguments.repeats):
            for cores in arguments.cores[:: (-1) ** turn]:
                times[cores].append(seconds(folder, cores, f"{cores}-{turn}"))
    print("| cores | seconds | times as long | from - to |\n|---|---|---|---|")
    first = times[arguments.cores[0]]
    for cores, taken in times.items():
        ratios = [ours / theirs for ours, theirs in zip(taken, first, strict=True)]
        spread = f"{min(ratios):.2f} - {max(ratios):.2f}"
        print(f"| {cores} | {statistics.median(taken):.1f} | {statistics.median(ratios):.2f} | {spread} |")


if __name__ == "__main__":
    main()
