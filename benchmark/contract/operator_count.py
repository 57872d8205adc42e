"""A count of what really ran, by arithmetic on the shapes of every dispatched operator.

It shares nothing with the meter, with the components or with fvcore: no trace, no handlers, other operators (those
below autograd, such as `aten.convolution` or the kernels of attention and LSTMs).  An operator that it cannot place
fails the test.
"""

from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten


def _matrix_product(a: Tensor, b: Tensor) -> int:
    """[..., n, m] times [..., m, p] or [m]: n m p for each entry of the batch."""
    columns = b.shape[-1] if b.dim() > 1 else 1
    return a.numel() * columns


def _convolution(x: Tensor, weight: Tensor, out: Tensor, transposed: bool, groups: int) -> int:
    """Every element of the smaller side meets the kernels of its group."""
    if transposed:
        return x.numel() * weight.shape[1] * prod(weight.shape[2:])
    return out.numel() * (x.shape[1] // groups) * prod(weight.shape[2:])


def _elimination(a: Tensor, b: Tensor) -> int:
    """Column by column: the square below and right of the pivot; then both triangles for each right-hand side."""
    n = a.shape[-1]
    columns = b.shape[-1] if b.dim() == a.dim() else 1
    return prod(a.shape[:-2]) * (sum(below * below for below in range(n)) + columns * 2 * sum(range(n)))


def _attention(query: Tensor, key: Tensor, value: Tensor) -> int:
    pairs = prod(query.shape[:-1]) * key.shape[-2]
    return pairs * query.shape[-1] + pairs * value.shape[-1]


def _self_attention(x: Tensor, width: int) -> int:
    """Projections to query, key, value and output, scores, and their weighted sum; [samples, tokens, width]."""
    samples, tokens, _ = x.shape
    return samples * (4 * tokens * width * width + 2 * tokens * tokens * width)


def _encoder_layer(x: Tensor, width: int, *arguments: Any) -> int:
    """Self-attention, two norms, and two linear layers; the first of these is the operator's 16th argument."""
    return _self_attention(x, width) + 2 * _norm(x, x) + 2 * x.numel() * arguments[13].shape[0]


def _norm(x: Tensor, weight: Tensor | None) -> int:
    return x.numel() * (4 if weight is None else 5)


def _batch_norm(x: Tensor, weight: Tensor | None, own_statistics: bool) -> int:
    """A scale and a shift, or a norm by the input's own statistics, as instance norm has it."""
    return _norm(x, weight) if own_statistics else x.numel() * (1 if weight is None else 2)


#: MACs from an operator's result and arguments.
_COUNTED: dict[Any, Callable[..., int]] = {
    aten.mm: lambda out, a, b: _matrix_product(a, b),
    aten.bmm: lambda out, a, b: _matrix_product(a, b),
    aten.mv: lambda out, a, b: _matrix_product(a, b),
    aten.dot: lambda out, a, b: a.numel(),
    aten.addmm: lambda out, c, a, b, **_: _matrix_product(a, b),
    aten.addmv: lambda out, c, a, b, **_: _matrix_product(a, b),
    aten.baddbmm: lambda out, c, a, b, **_: _matrix_product(a, b),
    aten.addbmm: lambda out, c, a, b, **_: _matrix_product(a, b),
    aten.linear: lambda out, x, weight, *_: x.numel() * weight.shape[0],
    aten.convolution: lambda out, x, w, b, stride, padding, dilation, transposed, extra, groups: _convolution(
        x, w, out, transposed, groups
    ),
    aten._linalg_solve_ex: lambda out, a, b, *_, **__: _elimination(a, b),
    aten._scaled_dot_product_flash_attention_for_cpu: lambda out, q, k, v, *_, **__: _attention(q, k, v),
    aten._native_multi_head_attention: lambda out, q, k, v, width, *_, **__: _self_attention(q, width),
    aten._transformer_encoder_layer_fwd: lambda out, *arguments: _encoder_layer(*arguments),
    aten.mkldnn_rnn_layer: lambda out, x, *weights: prod(x.shape[:-1]) * (weights[0].numel() + weights[1].numel()),
    aten._native_batch_norm_legit_no_training: lambda out, x, weight, *_: _batch_norm(x, weight, False),
    aten.native_batch_norm: lambda out, x, weight, bias, mean, variance, own, *_: _batch_norm(x, weight, own),
    aten.native_group_norm: lambda out, x, weight, *_: _norm(x, weight),
    aten.native_layer_norm: lambda out, x, shape, weight, *_: _norm(x, weight),
    aten.upsample_nearest2d: lambda out, *_: out.numel(),
    aten.upsample_bilinear2d: lambda out, *_: 4 * out.numel(),
}  # fmt: skip

#: Beside views and what PyTorch tags as pointwise: reductions, indexing, copies, pooling, creation.
_FREE = """
    _adaptive_avg_pool2d _local_scalar_dense _log_softmax _softmax _to_copy _unique2 _unsafe_view adaptive_max_pool2d
    all amax amin aminmax any arange argmax argmin argsort as_strided avg_pool2d bernoulli bucketize cat clone
    constant_pad_nd copy cumprod cumsum embedding empty empty_like equal exponential eye fill flip full full_like
    gather index index_add index_copy index_fill index_put index_select item lift_fresh linalg_vector_norm linspace
    log_sigmoid_forward log_softmax logsumexp max max_pool2d_with_indices mean min multinomial new_empty new_full
    new_ones new_zeros nonzero normal one_hot ones ones_like prod promote_types rand randint randn reflection_pad2d
    repeat resize roll rot90 scalar_tensor scatter scatter_add searchsorted select_scatter softmax sort squeeze stack
    std sum t topk transpose tril triu unique_consecutive unsafe_split unsqueeze var var_mean zero zeros zeros_like
"""


class _Operators(TorchDispatchMode):
    """Adds up the MACs of every operator that is dispatched."""

    def __init__(self) -> None:
        super().__init__()
        self.macs = 0
        self.free = set(_FREE.split())

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        packet = function.overloadpacket
        if packet in _COUNTED:
            out = result[0] if isinstance(result, tuple) else result
            self.macs += _COUNTED[packet](out, *args, **kwargs)
        else:
            name = packet.__name__.removesuffix("_")  # what works in place costs the same
            free = torch.Tag.pointwise in function.tags or function.is_view or name in self.free
            assert free, f"{function} is neither counted nor known to be free"
        return result


_POOLINGS = {
    functional.adaptive_avg_pool1d, functional.adaptive_avg_pool2d, functional.adaptive_avg_pool3d,
    torch._C._nn.adaptive_avg_pool2d, torch._C._nn.adaptive_avg_pool3d, torch.adaptive_avg_pool1d,
}  # fmt: skip


class _AdaptivePooling(TorchFunctionMode):
    """Counts the inputs of adaptive average pooling, which is dispatched as a plain mean."""

    elements = 0

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function in _POOLINGS:
            self.elements += args[0].numel()
        return function(*args, **(kwargs or {}))


def operator_macs(function: Callable[[], Any]) -> int:
    """MACs of the operators that calling `function` executes."""
    with _Operators() as operators, _AdaptivePooling() as pooling:
        function()
    return operators.macs + pooling.elements
