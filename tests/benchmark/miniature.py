"""An experiment of one run that takes a fraction of a second, and processes of it that can be killed.

The processes are forked from a server that has imported everything once, and has no threads.
"""

import contextlib
import copy
import json
import multiprocessing
import os
import sys
from collections.abc import Callable, Mapping
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from benchmark.__main__ import main

CONFIGURATION: dict[str, Any] = {
    "experiment": "miniature",
    "seeds": 1,
    "reference": "network",
    "recipe": {"epochs": 4, "batch_size": 16, "augmentation": {"crop": 1, "flip": True}},
    "datasets": {"digits": {"parameters": {"train_samples": 64, "test": 40, "validation": 40}}},
    "methods": {
        "network": {
            "kind": "workshop",
            "parameters": {
                "channels": [8], "strides": [1], "fpi": [True], "rounds": 1, "iterations": 2, "points": 2,
                "controls": False,
            },
        }
    },
}  # fmt: skip
STEPS = 4  # of an epoch
TOTAL = 16

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(
    # The last one is what torch's optimisers import in their first step, which takes them seconds.
    [
        "benchmark.__main__",
        "benchmark.commands.train",
        "dynalay.workshop",
        "benchmark.data.kinds.digits",
        "torch._dynamo",
    ]
)


class Miniature:
    """The experiment in a folder, with its own results and data.

    Args:
        folder: where everything lies; the data may be shared.
        data: the data folder.
        changes: what replaces values of the configuration, by the path of keys.
    """

    def __init__(self, folder: Path, data: Path, changes: Mapping[str, Any] | None = None) -> None:
        content = copy.deepcopy(CONFIGURATION)
        for path, value in (changes or {}).items():
            *parents, last = path.split("/")
            place = content
            for key in parents:
                place = place[key]
            place[last] = value
        folder.mkdir(parents=True, exist_ok=True)
        self.config = folder / "miniature.yaml"
        self.config.write_text(yaml.safe_dump(content))
        self.results = folder / "results"
        self.data = data
        self.run = self.results / "miniature" / "digits" / "network" / "seed0"

    def arguments(self, verb: str, *options: str) -> list[str]:
        return [
            verb, "--config", str(self.config), "--dataset", "digits", "--method", "network", "--seed", "0",
            "--results", str(self.results), "--data", str(self.data), "--device", "cpu", *options,
        ]  # fmt: skip

    def __call__(self, verb: str, *options: str) -> int:
        """Run a verb in this process; returns its exit status."""
        return main(self.arguments(verb, *options))

    def start(
        self,
        verb: str,
        *options: str,
        environment: Mapping[str, str] | None = None,
        prepare: Callable[[], None] | None = None,
    ) -> ForkServerProcess:
        """Run a verb in a process of its own, in an environment, and after `prepare` has changed what it will."""
        environment = environment or {}
        log = self._log(environment.get("RANK", 0))
        process = _SERVER.Process(target=_work, args=(self.arguments(verb, *options), log, environment, prepare))
        process.start()
        return process

    def log(self, rank: int = 0) -> str:
        """What processes of this rank have said."""
        log = self._log(rank)
        return log.read_text() if log.exists() else ""

    def _log(self, rank: int | str) -> Path:
        return self.config.with_name(f"rank{rank}.log")

    def run_json(self) -> dict[str, Any]:
        """The content of run.json."""
        return json.loads((self.run / "run.json").read_text())

    def outcome(self) -> tuple[bytes, bytes]:
        """What must not depend on interruptions: the model, and what was recorded with it."""
        return (self.run / "model.safetensors").read_bytes(), (self.run / "records.parquet").read_bytes()

    def history(self) -> pd.DataFrame:
        """The history but for its times."""
        return pd.read_csv(self.run / "history.csv").drop(columns="seconds")


def _work(arguments: list[str], log: Path, environment: Mapping[str, str], prepare: Callable[[], None] | None) -> None:
    os.environ.update(environment)
    if prepare is not None:
        prepare()
    with log.open("a") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        sys.exit(main(arguments))
