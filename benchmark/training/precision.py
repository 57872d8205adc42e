"""Mixed precision: the recipe's `precision`, and a warning where the processor only emulates it."""

import sys
from collections.abc import Collection
from contextlib import nullcontext
from typing import Any

import torch

from benchmark.experiment.configuration import Recipe


def autocast(recipe: Recipe, device: torch.device) -> Any:
    """A context in which operators run in the recipe's precision.

    Autocast's cache is off: a weight first cast under `no_grad` would be cached without a graph, and not be trained.
    """
    if recipe.precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)


def warn_of_emulation(precisions: Collection[str], device: torch.device) -> None:
    """Warn when one of the recipes' `precisions` is bfloat16 and the processor has no instructions for it."""
    if "bfloat16" not in precisions or device.type != "cpu":
        return
    capabilities = torch.cpu.get_capabilities()
    if not any(capabilities.get(name) for name in ("amx_bf16", "avx512_bf16", "bf16")):
        print(
            "warning: this processor has no bfloat16 instructions, and emulating them takes several times as long as "
            "float32; precision: float32 in the recipe avoids that, but retrains all its runs",
            file=sys.stderr,
        )
