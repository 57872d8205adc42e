"""When training does what: the phases of a method, and the learning rate within each."""

import math

from dynalay.classifier import Phase


def phase_at(phases: tuple[Phase, ...], progress: float) -> tuple[Phase, float]:
    """The current phase, and the share of its own steps that has been taken.

    Args:
        phases: of the method, in order of their starts, the first at 0.
        progress: the share of all optimiser steps already taken, in [0, 1).
    """
    number = max(index for index, phase in enumerate(phases) if phase.start <= progress)
    end = phases[number + 1].start if number + 1 < len(phases) else 1.0
    return phases[number], (progress - phases[number].start) / (end - phases[number].start)


def one_cycle(progress: float, warmup: float) -> float:
    """Share of the peak learning rate: linear to 1 over `warmup`, then a half cosine to 0 (Smith & Topin 2018).

    Args:
        progress: the share of the phase's steps already taken, in [0, 1).
        warmup: the share of the phase in which the rate rises, in [0, 1).
    """
    if progress < warmup:
        return (progress + 1e-3) / (warmup + 1e-3)
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))
