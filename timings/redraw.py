"""What it costs to redraw everything from the records of a large grid: time, and peak memory of all processes together.

    python -m timings.redraw --folder FOLDER

The records are synthetic (`tests/benchmark/synthetic.py`): 20 methods x 6 datasets x 10 seeds x 10,000 test samples, at
1 operating point (static networks), 20 (early exit), or 72 (DynaLay: 5 of its agent, 67 of the controls), about 1.5 GB;
writing them takes longer than redrawing, so a folder that has them is used again.
The gallery is left out, as there are no images.
"""

import argparse
import resource
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import psutil
import yaml

from benchmark import figures
from benchmark.experiment import configuration
from benchmark.experiment.configuration import Run
from tests.benchmark.synthetic import Adaptive, Experiment, Static, Truth

DATASETS = {f"dataset{number}": number % 2 == 0 for number in range(6)}
METHODS: dict[str, Truth] = {
    "resnet14": Static(),
    **{f"resnet{depth}": Static(0.7 + depth / 200, 50_000 * depth) for depth in (8, 20, 32)},
    **{f"branchynet{n}": Adaptive(0.7 + n / 100, skill=0.6, controls=False, kind="branchynet") for n in range(8)},
    "dynalay": Adaptive(),  # the one that claims are about
    **{f"dynalay{n}": Adaptive(0.75 + n / 200) for n in range(1, 8)},
}


def main() -> None:
    """Write the records where they are missing, redraw everything, and print what it cost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where the synthetic results are kept")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--samples", type=int, default=10_000)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    config = arguments.folder / "redraw.yaml"
    kinds = {
        "experiment": "redraw",
        "seeds": arguments.seeds,
        "reference": "resnet14",
        "datasets": {name: {"kind": "digits"} for name in DATASETS},
        "methods": {name: {"kind": truth.kind} for name, truth in METHODS.items()},
    }
    config.write_text(yaml.safe_dump(kinds, sort_keys=False))
    runs = configuration.load(config).runs()
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(_write, [(run, arguments.folder, arguments.samples) for run in runs]))
    print(f"{len(runs)} runs of {arguments.samples} test samples")
    on_experiment = ["--config", str(config), "--results", str(arguments.folder)]
    drawn = [["figure", name] for name in figures.applicable(configuration.load(config)) if name != "gallery"]
    costs = []
    for verb in [["summary"], ["tables"], ["verdicts"], *drawn, ["report"]]:
        costs.append(measured([sys.executable, "-m", "benchmark", *verb, *on_experiment]))
        _print(" ".join(verb), *costs[-1])
    seconds, cpu_seconds, gigabytes = zip(*costs, strict=True)
    _print("everything", sum(seconds), sum(cpu_seconds), max(gigabytes))
    page = arguments.folder / "redraw" / "report.html"
    print(f"the page has {page.stat().st_size / 2**20:.1f} MiB")


def _print(what: str, seconds: float, cpu_seconds: float, gigabytes: float) -> None:
    print(f"{what:<32} {seconds:7.1f} s {cpu_seconds:7.1f} s of CPU {gigabytes:6.2f} GiB", flush=True)


def _write(job: tuple[Run, Path, int]) -> None:
    """Write a run, or if it is there only its run.json, whose digest must be that of today's configuration."""
    run, folder, samples = job
    points = 20 if run.method_kind == "branchynet" else 5
    experiment = Experiment(DATASETS, METHODS, samples=samples, points=points)
    if (run.folder(folder) / "history.csv").exists():
        experiment.write_description(run, folder)
    else:
        experiment.write_run(run, folder)


def measured(command: list[str]) -> tuple[float, float, float]:
    """Run a command; wall and CPU time in seconds, and the peak of all its processes' memory together in GiB.

    Memory is looked at ten times a second; pages that processes share are counted once (proportional set size).  On a
    machine that is busy with other things, CPU time says more than wall time.
    """
    started, used = time.perf_counter(), _cpu_seconds()
    process = subprocess.Popen(command, cwd=Path(__file__).parents[1])
    peak = 0
    while process.poll() is None:
        peak = max(peak, _memory(process.pid))
        time.sleep(0.1)
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed")
    return time.perf_counter() - started, _cpu_seconds() - used, peak / 2**30


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _memory(pid: int) -> int:
    total = 0
    try:
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            total += process.memory_full_info().pss
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        pass  # it ended while we looked
    return total


if __name__ == "__main__":
    main()
