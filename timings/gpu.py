"""Everything that is worth measuring on a new device, in one command: CUDA tests, then the tables that differ there.

    python -m timings.gpu                     on the GPU where there is one, else on the CPU
    python -m timings.gpu --device cpu

Each part is a script of its own, and prints its command first. A part that fails does not stop the others; the exit
status says whether all went well. About three minutes on a data-centre GPU.
"""

import argparse
import subprocess
import sys

import torch

from benchmark.experiment.provenance import hardware, versions

#: Arguments of `python -m`, in order; {device} is filled in.
PARTS = (
    "timings.sharing --device {device} --processes 1 2 4 8",
    "timings.training --device {device} --depth 18 --steps 60 --repeats 2 --workers 8 --threads 8",
    "timings.training --device {device} --depth 20 --steps 60 --repeats 2 --workers 8 --threads 8",
    "timings.graphs --device {device} --config config/fashion.yaml --dataset fashion_mnist --repeats 15",
    "timings.compaction --device {device}",
    "timings.solvers --device {device}",
    "timings.memory --device {device}",
)


def main() -> None:
    """Run all parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    machine = hardware(torch.device(arguments.device))
    print(
        f"{machine['gpu'] or machine['processor']}, {machine['cores']} cores, torch {versions()['torch']}", flush=True
    )
    tests = ("pytest -q -m cuda tests/dynalay tests/benchmark/training",) if arguments.device == "cuda" else ()
    failed = []
    for part in (*tests, *PARTS):
        command = part.format(device=arguments.device)
        print(f"\n## python -m {command}\n", flush=True)
        if subprocess.run([sys.executable, "-m", *command.split()], check=False).returncode:
            failed.append(command)
    if failed:
        sys.exit("failed: " + "; ".join(failed))


if __name__ == "__main__":
    main()
