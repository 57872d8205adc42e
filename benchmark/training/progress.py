"""Where a training stands: steps, history, running sums, and the time and energy it has taken."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from benchmark.training.energy import EnergyMeter
from benchmark.training.validation import Validation


@dataclass
class Progress:
    """Where a run stands; all of it goes into the checkpoint.

    Attributes:
        threads: that compute the run on the CPU, in every attempt: rounding depends on their number.
        step: optimiser steps taken.
        history: one row an epoch.
        sums: of what is logged, by name: the sum over the current epoch's steps and their number, float64 [2].
        macs: forward MACs of training so far, as metered.
        seconds: wall time spent training, over all attempts.
        joules: energy used meanwhile by the devices that report it, over all attempts: of "cpu" and "gpu".
        preemptions: how often the run was resumed from a checkpoint.
    """

    threads: int
    step: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    sums: dict[str, Tensor] = field(default_factory=dict)
    macs: int = 0
    seconds: float = 0.0
    joules: dict[str, float] = field(default_factory=dict)
    preemptions: int = 0

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Count one more step, and add what it logged; a metric may belong to only some of an epoch's steps."""
        self.step += 1
        for name, value in values.items():
            entry = torch.stack([value.double(), torch.ones_like(value, dtype=torch.float64)])
            self.sums[name] = self.sums[name] + entry if name in self.sums else entry

    def means(self) -> dict[str, float]:
        """The mean of each metric over the epoch's steps that have it; the sums start again from nothing."""
        means = {name: (value[0] / value[1]).item() for name, value in self.sums.items()}
        self.sums = {}
        return means

    def close_epoch(
        self,
        epoch: int,
        phase: str,
        means: Mapping[str, float],
        samples: int,
        validation: Validation,
    ) -> None:
        """Add the epoch's row to the history.

        Args:
            epoch: its number, from 0.
            phase: the name of the phase of its last step.
            means: of its metrics; "macs", per sample, goes into the total.
            samples: how many it trained on.
            validation: the result of validating after it.
        """
        metrics = dict(means)
        self.macs += round(metrics.pop("macs") * samples)
        self.history.append(
            {"epoch": epoch + 1, "step": self.step, "phase": phase, **metrics,
             "validation_accuracy": validation.accuracy, "validation_macs": validation.macs,
             "training_macs": self.macs, "seconds": self.seconds}
        )  # fmt: skip

    def close_settling(self) -> None:
        """Let the history end with all the compute and time of training, what a method fits afterwards included."""
        self.history[-1] |= {"training_macs": self.macs, "seconds": self.seconds}


class Clock:
    """Measures a training's wall time and energy.

    Args:
        device: whose energy counts beside the processors'.
    """

    def __init__(self, device: torch.device) -> None:
        self._energy = EnergyMeter(device)
        self._read = time.perf_counter()

    def add_to(self, progress: Progress) -> None:
        """Add what has been used since the last call, or since the clock was made."""
        now = time.perf_counter()
        progress.seconds, self._read = progress.seconds + now - self._read, now
        for name, joules in self._energy.joules().items():
            progress.joules[name] = progress.joules.get(name, 0.0) + joules
