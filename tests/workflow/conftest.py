"""Snakemake and its jobs, run by a server that has their libraries loaded; see `warm`."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.workflow import pipeline, warm


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What to call in place of `python`."""
    with warm.serving(tmp_path_factory.mktemp("warm")) as client:
        yield client


@pytest.fixture(scope="session")
def run(python: Path) -> Callable[..., tuple[int, str]]:
    """`pipeline.run`, without the seconds that imports take."""
    return partial(pipeline.run, python=python)
