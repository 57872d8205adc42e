"""Does saving MACs save time? The same question as in `timings.saving`, answered from timings of trained networks.

    python -m timings.published
    python -m timings.published --results results --experiments quick

For each adaptive method that was timed: speed-up over its most expensive operating point, divided by the ratio of MACs,
at the point in the middle of its range of MACs; and the slowest point's time as a share of the most expensive point's.
"""

import argparse
from pathlib import Path

import pandas as pd


def rows(summary: Path) -> list[str]:
    """The rows of one experiment, from its summary."""
    keys = ["dataset", "method", "seed", "operating_point"]
    curves = pd.read_parquet(summary / "curves.parquet")
    curves = curves[(curves["split"] == "test") & (curves["policy"] == "own")]
    timed = pd.read_parquet(summary / "latency.parquet").merge(curves[[*keys, "macs"]], on=keys)
    found = []
    for (dataset, method), points in timed.groupby(["dataset", "method"], sort=False):
        if points["operating_point"].nunique() < 2:
            continue
        middles, slowest = [], []
        for _, batch in points.sort_values("macs").groupby("batch_size"):
            macs, time = batch["macs"].to_numpy(), batch["milliseconds_per_sample"].to_numpy()
            middle = abs(macs - (macs[0] + macs[-1]) / 2).argmin()
            middles.append(time[-1] / time[middle] * macs[middle] / macs[-1])
            slowest.append(time.max() / time[-1])
        cells = " | ".join(f"{each:.2f}" for each in (*middles, *slowest))
        found.append(f"| {dataset}/{method} | {cells} |")
    return found


def main() -> None:
    """Print a row for each dataset and method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path("results/reference"), help="(default: results/reference)")
    parser.add_argument("--experiments", nargs="+", default=["fashion", "cifar10"], help="(default: fashion cifar10)")
    arguments = parser.parse_args()
    batches = ("batch 1", "batch 16", "batch 256")
    print(f"| network | {' | '.join(f'middle, {each}' for each in batches)} | "
          f"{' | '.join(f'slowest, {each}' for each in batches)} |")  # fmt: skip
    print(f"|---|{'---|' * 2 * len(batches)}")
    for experiment in arguments.experiments:
        print("\n".join(rows(arguments.results / experiment / "summary")))


if __name__ == "__main__":
    main()
