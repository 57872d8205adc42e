"""The samples on which a run spent least and most."""

import numpy as np
import pandas as pd

from benchmark.analysis.curves import middle_point
from benchmark.analysis.grid import Grid, rounds_of

#: Samples shown for the least and for the most compute.
SHOWN = 8


def middle(grid: Grid) -> str:
    """The operating point in the middle of the run's own curve."""
    own = np.flatnonzero(grid.policy == "own")
    return str(grid.operating_point[own[middle_point(grid["macs"][own].mean(axis=1))]])


def extremes(grid: Grid, point: str) -> pd.DataFrame:
    """The samples on which the run spent least and most, at an operating point, with the path of actions.

    Among samples of equal compute, the most confident predictions represent the least, the least confident the most.
    """
    row = int(np.flatnonzero(grid.operating_point == point)[0])
    spent, confidence = grid["macs"][row], grid["confidence"][row]
    order = np.lexsort((-confidence, spent))
    actions = [taken[row].copy() for _, taken in rounds_of(grid)]
    parts = []
    for extreme, chosen in (("least", order[:SHOWN]), ("most", order[::-1][:SHOWN])):
        part = pd.DataFrame(
            {"extreme": extreme, "sample": chosen, "macs": spent[chosen], "confidence": confidence[chosen]}
        )
        part["label"] = grid.of_sample("label")[chosen]
        part["prediction"] = grid["prediction"][row][chosen]
        part["path"] = [[int(a[sample]) for a in actions if a[sample] >= 0] if actions else None for sample in chosen]
        parts.append(part)
    return pd.concat(parts, ignore_index=True).assign(
        policy=grid.policy[row], operating_point=point, knob=grid.knob[row]
    )
