"""Datasets: downloaded or generated once, checked, and stored for all runs to share."""

from benchmark.data.kinds import all_kinds, find_kind
from benchmark.data.raw import RawDataset, RawSplit
from benchmark.data.store import Dataset, Split, load, prepare

__all__ = ["Dataset", "RawDataset", "RawSplit", "Split", "all_kinds", "find_kind", "load", "prepare"]
