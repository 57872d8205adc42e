"""The published list of operators: which are counted, and how; which are free; all others are refused.

Names are those of a PyTorch trace.  fvcore counts an operator that it does not know as 0 without a word, so this suite
says what every operator costs.  One that is on neither list stops the count: see `dynalay.components.component_cost`.

The convention is fvcore's.  A matrix product or a convolution costs one MAC for each product that it sums; biases,
activations and everything elementwise are free.  `docs/compute.md` has the whole list in words.
"""

from math import prod
from typing import Any

import torch
from fvcore.nn.jit_handles import Handle, addmm_flop_jit, elementwise_flop_counter, get_shape

#: A value of a trace: `torch._C.Value`, which has no public type.
Value = Any


class UncountedOperatorError(ValueError):
    """An operator's cost is not known."""


def _shape(value: Value) -> tuple[int, ...]:
    return tuple(get_shape(value) or ())


def _list(value: Value) -> list[Value]:
    """The entries of a list of tensors; none where `value` is something else."""
    node = value.node()
    return list(node.inputs()) if node.kind() == "prim::ListConstruct" else []


def _convolution(inputs: list[Value], outputs: list[Value]) -> int:
    """Each weight meets each position: of the output, or of the input if transposed (argument 6)."""
    transposed = inputs[6].toIValue()
    image, weight = _shape(inputs[0]), _shape(inputs[1])
    positions = image if transposed else _shape(outputs[0])
    return image[0] * prod(weight) * prod(positions[2:])


def _convolution_same(inputs: list[Value], outputs: list[Value]) -> int:
    """A convolution with ``padding="same"`` or ``"valid"``, which has an operator of its own."""
    return _shape(inputs[0])[0] * prod(_shape(inputs[1])) * prod(_shape(outputs[0])[2:])


def _matmul(inputs: list[Value], outputs: list[Value]) -> int:
    """[..., n, m] @ [..., m, p] with broadcasting; either may be a vector."""
    left, right = _shape(inputs[0]), _shape(inputs[1])
    left = left if len(left) > 1 else (1, *left)
    right = right if len(right) > 1 else (*right, 1)
    return prod(torch.broadcast_shapes(left[:-2], right[:-2])) * left[-2] * left[-1] * right[-1]


def _add_product(inputs: list[Value], outputs: list[Value]) -> int:
    """``beta * x + alpha * (a @ b)``, also in batches: the products of a @ b."""
    return _matmul(inputs[1:3], outputs)


def _dot(inputs: list[Value], outputs: list[Value]) -> int:
    return prod(_shape(inputs[0]))


def _einsum(inputs: list[Value], outputs: list[Value]) -> int:
    """What is summed over both operands makes a matrix product; without such an index it is an elementwise product."""
    left_side, arrow, right_side = inputs[0].toIValue().replace(" ", "").partition("->")
    shapes = [_shape(value) for value in _list(inputs[1])]
    if len(shapes) == 1:
        return 0  # a transposition, a diagonal or a sum
    if len(shapes) != 2 or "." in left_side or not arrow:
        raise UncountedOperatorError(
            f"einsum {inputs[0].toIValue()!r} of {len(shapes)} operands: its cost is known for two operands and an "
            "equation with '->' and without '...'; write it as such, or as several of them"
        )
    sizes = [dict(zip(labels, shape, strict=True)) for labels, shape in zip(left_side.split(","), shapes, strict=True)]
    shared = [label for label in sizes[0] if label in sizes[1] and label not in right_side]
    if not any(sizes[0][label] > 1 and sizes[1][label] > 1 for label in shared):
        return 0
    # Indices of one operand alone are summed before; they take no part in the product.
    labels = set(right_side) | set(shared)
    return prod(max(sizes[0].get(label, 1), sizes[1].get(label, 1)) for label in labels)


def _linear_system(inputs: list[Value], outputs: list[Value]) -> int:
    """A x = b by Gaussian elimination, A [..., n, n], b [..., n, k]; divisions are free."""
    matrix, right = _shape(inputs[0]), _shape(inputs[1])
    n = matrix[-1]
    columns = right[-1] if len(right) == len(matrix) else 1
    return prod(matrix[:-2]) * ((n - 1) * n * (2 * n - 1) // 6 + n * (n - 1) * columns)


def _attention(inputs: list[Value], outputs: list[Value]) -> int:
    """softmax(q k^T) v with q [..., L, E], k [..., S, E], v [..., S, V]: both products, whatever a mask leaves out."""
    query, key, value = (_shape(each) for each in inputs[:3])
    return prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def _recurrent(inputs: list[Value], outputs: list[Value]) -> int:
    """LSTM, GRU or RNN: at each position of [..., features], all matrices of all layers and directions."""
    matrices = [_shape(value) for each in inputs[1:] for value in _list(each)]
    return prod(_shape(inputs[0])[:-1]) * sum(prod(shape) for shape in matrices if len(shape) == 2)


def _recurrent_cell(inputs: list[Value], outputs: list[Value]) -> int:
    """(input, state, weight of the input, weight of the state, ...): both products."""
    return _shape(inputs[0])[0] * (prod(_shape(inputs[2])) + prod(_shape(inputs[3])))


#: Handlers that this suite adds to fvcore's own, or puts in their place: MACs from a traced operator's inputs and
#: outputs.  A method with an operator of its own adds its handler here: ``HANDLERS["mine::product"] = ...``.
HANDLERS: dict[str, Handle] = {
    "aten::_convolution": _convolution,
    "aten::convolution": _convolution,
    "aten::_convolution_mode": _convolution_same,
    "aten::matmul": _matmul,
    "aten::mv": _matmul,
    "aten::baddbmm": _add_product,
    "aten::addbmm": _add_product,
    "aten::addmv": _add_product,
    "aten::addmm": addmm_flop_jit,
    "aten::dot": _dot,
    "aten::vdot": _dot,
    "aten::einsum": _einsum,
    "aten::linalg_solve": _linear_system,
    "aten::linalg_solve_ex": _linear_system,
    "aten::scaled_dot_product_attention": _attention,
    **dict.fromkeys(("aten::lstm", "aten::gru", "aten::rnn_tanh", "aten::rnn_relu"), _recurrent),
    **dict.fromkeys(
        ("aten::lstm_cell", "aten::gru_cell", "aten::rnn_tanh_cell", "aten::rnn_relu_cell"), _recurrent_cell
    ),
    # As fvcore counts their relatives of two dimensions: input elements, and output elements times taps.
    "aten::adaptive_avg_pool1d": elementwise_flop_counter(1, 0),
    "aten::adaptive_avg_pool3d": elementwise_flop_counter(1, 0),
    "aten::upsample_nearest1d": elementwise_flop_counter(0, 1),
    "aten::upsample_nearest3d": elementwise_flop_counter(0, 1),
    "aten::upsample_linear1d": elementwise_flop_counter(0, 2),
    "aten::upsample_trilinear3d": elementwise_flop_counter(0, 8),
    "aten::upsample_bicubic2d": elementwise_flop_counter(0, 16),
}

#: Operators that cost nothing, by kind; an operator that works in place has the same name.
FREE_BY_KIND: dict[str, str] = {
    "arithmetic": """
        abs acos add addcdiv addcmul asin atan atan2 ceil clamp clamp_max clamp_min copysign cos cosh div erf erfc
        erfinv exp exp2 expm1 floor floor_divide fmax fmin fmod frac hypot lerp log log10 log1p log2 logaddexp
        logaddexp2 logit maximum minimum mul nan_to_num neg outer pow reciprocal remainder round rsqrt rsub sgn sign sin
        sinh sqrt square sub tan true_divide trunc xlogy""",
    "activations": """
        celu elu gelu glu hardshrink hardsigmoid hardswish hardtanh leaky_relu log_sigmoid log_softmax mish prelu relu
        relu6 rrelu selu sigmoid silu softmax softplus softshrink tanh tanhshrink threshold _log_softmax _softmax
        alpha_dropout dropout feature_alpha_dropout feature_dropout native_dropout""",
    "comparisons": """
        __and__ __or__ __xor__ bitwise_and bitwise_not bitwise_or bitwise_xor eq ge gt isclose isfinite isinf isnan le
        logical_and logical_not logical_or logical_xor lt masked_fill ne where""",
    "reductions": """
        all amax amin aminmax any argmax argmin argsort count_nonzero cummax cummin cumprod cumsum diff kthvalue
        linalg_vector_norm logcumsumexp logsumexp max mean median min mode norm prod quantile rms_norm sort std std_mean
        sum topk var var_mean""",
    "pooling": """
        adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d avg_pool1d avg_pool2d avg_pool3d max_pool1d
        max_pool1d_with_indices max_pool2d max_pool2d_with_indices max_pool3d max_pool3d_with_indices""",
    "indexing": """
        embedding gather index index_add index_copy index_fill index_put index_select masked_scatter masked_select
        nonzero one_hot scatter scatter_add scatter_reduce take take_along_dim tril triu""",
    "shapes": """
        alias as_strided atleast_1d atleast_2d atleast_3d broadcast_tensors broadcast_to cat channel_shuffle
        chunk clone col2im constant_pad_nd contiguous copy detach diag diag_embed diagonal expand expand_as
        flatten flip hstack im2col lift_fresh mH mT meshgrid movedim narrow numpy_T pad permute pixel_shuffle
        pixel_unshuffle ravel reflection_pad1d reflection_pad2d reflection_pad3d repeat repeat_interleave
        replication_pad1d replication_pad2d replication_pad3d reshape reshape_as roll rot90 select slice split
        split_with_sizes squeeze stack swapaxes swapdims t tensor_split tile transpose type_as unbind unflatten
        unfold unsafe_chunk unsafe_split unsqueeze view view_as vstack""",
    "creation": """
        arange bernoulli empty empty_like exponential eye fill full full_like linspace multinomial new_empty new_full
        new_ones new_zeros normal ones ones_like rand rand_like randint randn randn_like randperm scalar_tensor tensor
        uniform zero zeros zeros_like""",
    "numbers": """
        Bool Float FloatImplicit Int IntImplicit ScalarImplicit __contains__ dim floordiv item len numel size to
        _to_copy""",
}

FREE = frozenset(name for names in FREE_BY_KIND.values() for name in names.split())


def is_free(operator: str) -> bool:
    """Whether an operator of a trace ("aten::add_") is on the list of those that cost nothing."""
    namespace, _, name = operator.partition("::")
    return namespace == "aten" and (name in FREE or name.removesuffix("_") in FREE)
