"""How long Snakemake plans a grid, by its number of runs.

    python -m timings.dryrun
    python -m timings.dryrun --runs 100 1000 10000

Each grid is planned from nothing (`--dry-run`), with the default profile, in a process of its own.  On a machine that
is busy with other things, CPU time says more than wall time.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
METHODS = 10


def seconds(runs: int) -> tuple[float, float]:
    """Wall-clock and CPU seconds of a dry run of a grid with so many runs."""
    grid = {
        "experiment": "dryrun",
        "seeds": runs // METHODS,
        "reference": "method0",
        "datasets": {"digits": {}},
        "methods": {f"method{index}": {"kind": "resnet"} for index in range(METHODS)},
    }
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "grid.yaml").write_text(yaml.safe_dump(grid))
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--dry-run"]
        started, used = time.perf_counter(), cpu_seconds()
        subprocess.run(
            [*command, "--quiet", "rules", "--cores", "1", "--config", "experiment=grid.yaml"],
            cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        return time.perf_counter() - started, cpu_seconds() - used


def cpu_seconds() -> float:
    """What processes that have ended have used."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Print a row for each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, nargs="+", default=[10, 1000, 2000, 5000, 10000], help="multiples of 10")
    print("| runs | seconds | of CPU | milliseconds of CPU a run |\n|---|---|---|---|")
    for runs in parser.parse_args().runs:
        taken, used = seconds(runs)
        print(f"| {runs:,} | {taken:.1f} | {used:.1f} | {1000 * used / runs:.1f} |", flush=True)


if __name__ == "__main__":
    main()
