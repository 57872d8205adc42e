"""Tests run side by side: each process computes on one thread, as do the processes that it starts."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before anything imports torch

import pytest

pytest.register_assert_rewrite(
    "benchmark.contract.methods", "benchmark.contract.datasets", "benchmark.contract.telling"
)
