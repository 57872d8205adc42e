"""Datasets: downloaded or generated once, checked, and stored for all runs to share."""

from benchmark.data.kinds import all_kinds, find_kind
from benchmark.data.raw import Facts, RawDataset, RawSplit
from benchmark.data.store import Dataset, Split, facts, load, prepare

__all__ = ["Dataset", "Facts", "RawDataset", "RawSplit", "Split", "all_kinds", "facts", "find_kind", "load", "prepare"]
