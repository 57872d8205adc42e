"""Tables of measured time, beside those of MACs: does what saves MACs save time?"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from benchmark.analysis.formatting import AMOUNT, SHARE, Cell, Cells, Filled, Metric, percent, significant
from benchmark.analysis.outcomes import Outcomes
from benchmark.analysis.static_networks import best_static


def latency(outcomes: Outcomes) -> Filled:
    """Measured time at the operating point of highest validation accuracy, with fast inference, for the seeds timed.

    Percentiles are of the time that one batch takes; the time of a sample is the median pass's. Peak memory is that of
    the process, or of the GPU, at that batch size; threads are those configured.
    """
    timed = Timed(outcomes)
    metrics = {}
    for size in timed.sizes:
        metrics[f"milliseconds_per_sample_{size}"] = Metric(f"batch {size}: ms per sample", significant, AMOUNT)
        for column in ("p50", "p95", "p99"):
            metrics[f"{column}_{size}"] = Metric(f"{column} (ms)", significant, AMOUNT)
        metrics[f"peak_memory_mib_{size}"] = Metric("memory (MiB)", significant, AMOUNT)
        metrics[f"threads_{size}"] = Metric("threads", significant, AMOUNT)
    cells: Cells = {}
    for dataset, method in outcomes.grid():
        places = outcomes.best(dataset, method)
        row = {}
        for name in metrics:
            column, _, size = name.rpartition("_")
            row[name] = Cell.of(timed.values(dataset, method, places, int(size), column))
        if any(cell.estimate is not None for cell in row.values()):
            cells[dataset, method] = row
    return metrics, cells


def time_at_equal_accuracy(outcomes: Outcomes) -> Filled:
    """Shares of MACs and of measured time saved at the accuracy of the best static network, for the seeds timed.

    As in `equal_accuracy`, at the cheapest operating point whose validation accuracy is at least that of the static
    network at its best. A share below zero says that more is spent. A dash: only some of the timed seeds reach that
    accuracy; methods of which none does are left out.
    """
    timed = Timed(outcomes)
    within = (-math.inf, 1.0)
    metrics = {"macs_saved": Metric("MACs saved (%)", percent, within)}
    metrics |= {f"time_saved_{size}": Metric(f"time saved, batch {size} (%)", percent, within) for size in timed.sizes}
    metrics["accuracy"] = Metric("test accuracy there (%)", percent, SHARE)
    cells: Cells = {}
    for dataset, method in outcomes.grid():
        standard = best_static(outcomes, dataset)
        if method == standard or not timed.seeds(dataset, method) & timed.seeds(dataset, standard):
            continue
        ours, theirs = outcomes.reaching(dataset, method, standard), outcomes.best(dataset, standard)
        both = timed.seeds(dataset, method) & timed.seeds(dataset, standard)

        def of_timed(values: Sequence[float | None], both: set[int] = both) -> list[float | None]:
            return [value for seed, value in zip(outcomes.seeds, values, strict=True) if seed in both]

        macs = [of_timed(outcomes.at(dataset, *each, "macs")) for each in ((method, ours), (standard, theirs))]
        row = {"macs_saved": Cell.of(_saved(*macs))}
        for size in timed.sizes:
            times = [
                timed.values(dataset, *each, size, "milliseconds_per_sample", both)
                for each in ((method, ours), (standard, theirs))
            ]
            row[f"time_saved_{size}"] = Cell.of(_saved(*times))
        row["accuracy"] = Cell.of(of_timed(outcomes.at(dataset, method, ours, "accuracy")))
        if row["macs_saved"].seeds:
            cells[dataset, method] = {name: replace(cell, against=standard) for name, cell in row.items()}
    return metrics, cells


def note(outcomes: Outcomes) -> str:
    """What a caption says of timings by the code of another commit than that of the runs; nothing without any."""
    timed = outcomes.table("latency")
    commits = set(timed["commit"].dropna()) if "commit" in timed else set()
    others = sorted(f"{commit[:10]}{commit[40:]}" for commit in commits - set(outcomes.runs["commit"].dropna()))
    return f"Timed with the code of commit {', '.join(others)}." if others else ""


def _saved(ours: Sequence[float | None], theirs: Sequence[float | None]) -> list[float | None]:
    """The share of `theirs` that `ours` saves, seed by seed."""
    pairs = zip(ours, theirs, strict=True)
    return [None if mine is None or other is None else 1 - mine / other for mine, other in pairs]


class Timed:
    """What was timed: the table `latency` of the summary."""

    def __init__(self, outcomes: Outcomes) -> None:
        self.outcomes = outcomes
        table = outcomes.table("latency")
        #: Batch sizes, ascending.
        self.sizes = sorted(table["batch_size"].unique().tolist()) if len(table) else []
        self._rows = {} if table.empty else table.set_index(
            ["dataset", "method", "seed", "operating_point", "batch_size"]
        ).to_dict("index")  # fmt: skip

    def seeds(self, dataset: str, method: str) -> set[int]:
        """The seeds of a method that were timed."""
        return {seed for data, name, seed, *_ in self._rows if (data, name) == (dataset, method)}

    def values(
        self,
        dataset: str,
        method: str,
        places: Sequence[int | None],
        size: int,
        column: str,
        seeds: set[int] | None = None,
    ) -> list[float | None]:
        """A column at one place on the curve for each seed that was timed, or for each of `seeds`."""
        wanted = self.seeds(dataset, method) if seeds is None else seeds
        found = []
        for seed, curve, place in zip(
            self.outcomes.seeds, self.outcomes.curves(dataset, method), places, strict=True
        ):  # fmt: skip
            if seed not in wanted:
                continue
            name = None if curve is None or place is None else curve.operating_points[place]
            row = self._rows.get((dataset, method, seed, name, size))
            found.append(None if row is None else float(row[column]))
        return found or [None]

    def at_macs(self, dataset: str, method: str, macs: float, size: int) -> float | None:
        """Milliseconds per sample at some MACs in batches of `size`; None if no seed was timed.

        Read off the timed seeds' own curves, along straight lines, and averaged over these seeds.
        """
        curves = zip(self.outcomes.seeds, self.outcomes.curves(dataset, method), strict=True)
        read = []
        for seed, curve in curves:
            if curve is None or seed not in self.seeds(dataset, method):
                continue
            rows = [self._rows.get((dataset, method, seed, name, size)) for name in curve.operating_points]
            known = [(x, row["milliseconds_per_sample"]) for x, row in zip(curve.macs, rows, strict=True) if row]
            if known:
                x, milliseconds = zip(*sorted(known), strict=True)
                read.append(float(np.interp(macs, x, milliseconds)))
        return float(np.mean(read)) if read else None
