"""An operator-level count of what really ran, independent of meter, components and fvcore's tracing."""

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

aten = torch.ops.aten


def _group_norm(shape: torch.Size, weight: torch.Size | None, *_: Any, **__: Any) -> int:
    return 2 * shape.numel() * (4 if weight is None else 5)


def _layer_norm(shape: torch.Size, normalised: Any, weight: torch.Size | None, *_: Any, **__: Any) -> int:
    return _group_norm(shape, weight)


def _batch_norm(shape: torch.Size, weight: torch.Size | None, *_: Any, **__: Any) -> int:
    return 2 * shape.numel() * (1 if weight is None else 2)


#: What fvcore counts beside matrix products and convolutions, which FlopCounterMode knows; doubled, since that mode
#: counts two for each multiply-add.  Inference only.  Interpolation and instance norm are left out: no method has them,
#: and one that had would fail the comparison.
_FORMULAS = {
    aten._native_batch_norm_legit_no_training: _batch_norm,
    aten.native_group_norm: _group_norm,
    aten.native_layer_norm: _layer_norm,
}


class _AdaptivePooling(TorchFunctionMode):
    """Counts the inputs of adaptive average pooling, which is dispatched as a plain mean."""

    elements = 0

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function in (functional.adaptive_avg_pool2d, torch._C._nn.adaptive_avg_pool2d):
            self.elements += args[0].numel()
        return function(*args, **(kwargs or {}))


def operator_macs(function: Callable[[], Any]) -> int:
    """MACs of the operators that calling `function` executes, of those kinds that fvcore counts."""
    with FlopCounterMode(display=False, custom_mapping=_FORMULAS) as counter, _AdaptivePooling() as pooling:
        function()
    doubled = counter.get_total_flops()
    assert doubled % 2 == 0
    return doubled // 2 + pooling.elements
