"""Components as they run fastest: copies that can no longer be trained.

A method runs its components through a meter and in no other way. So fast inference needs no second version of any
method: a meter is given the components made here, and the method's own code runs on. What they cost stays what the
originals cost.

A copy differs from its original in this:

- whatever depends on weights alone is computed once: a module that has a method ``for_inference()`` is replaced by
  the module that it returns;
- a batch norm that follows a convolution is folded into it, and what does nothing in inference is left out, wherever
  `torch.fx` can trace the code;
- what such code calls are functions, since a call of a module takes as long as a small layer on one sample;
- convolutions are in the layout channels-last, for which PyTorch's CPU kernels take 0.6 to 1.0 of the time;
- on a CPU a large batch runs in parts whose activations fit into the cache.

Answers are equal up to rounding. Figures: `timings/README.md`.
"""

import copy
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, fx, nn
from torch.fx.experimental.optimization import fuse
from torch.nn import functional

from dynalay.components import Component
from dynalay.graphs import Graphed

#: Bytes of the largest activation of a part of a batch; measured on a CPU with 1 MiB of second-level cache a core.
CACHED = 2 * 2**20
#: Modules that do nothing in inference.
_IDLE = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)

Fingerprint = tuple[tuple[int, int], ...]
Function = tuple[Callable[..., Tensor], tuple[Tensor | None, ...], tuple[Any, ...]]
_known: "WeakKeyDictionary[nn.Module, tuple[Fingerprint, dict[str, Component]]]" = WeakKeyDictionary()


def optimised(
    components: Mapping[str, Component], *, compiled: bool = False, graphed_rows: Collection[int] = ()
) -> dict[str, Component]:
    """Copies of `components` for inference, on the same device and with the weights as they are now.

    Args:
        components: of a model; they are not changed.
        compiled: whether `torch.compile` compiles each of them when it first runs, which takes seconds to minutes.
        graphed_rows: the numbers of rows for which each runs as one CUDA graph (`dynalay.graphs`); on a GPU.

    Raises:
        ValueError: `graphed_rows` are given for components that are not on a GPU.
    """
    if graphed_rows and not any(tensor.is_cuda for each in components.values() for tensor in _tensors(each.module)):
        raise ValueError("CUDA graphs need a model on a GPU; this one is not: move it there first")
    return {
        name: Component(_optimised(component, compiled, graphed_rows), component.input_shapes)
        for name, component in components.items()
    }


def optimised_components(model: nn.Module, components: Mapping[str, Component]) -> Mapping[str, Component]:
    """`optimised`, remembered until a weight of `model` changes.

    A change is noticed as autograd notices it, so not where it is made through ``.data`` or NumPy. Weights that were
    made in inference mode cannot be watched; their components are returned as they are.
    """
    tensors = [*model.parameters(), *model.buffers()]
    if any(tensor.is_inference() for tensor in tensors):
        return components
    fingerprint = tuple((tensor.data_ptr(), tensor._version) for tensor in tensors)
    known = _known.get(model)
    if known is None or known[0] != fingerprint:
        known = _known[model] = (fingerprint, optimised(components))
    return known[1]


def _optimised(component: Component, compiled: bool, graphed_rows: Collection[int]) -> nn.Module:
    with torch.inference_mode(mode=False), torch.no_grad():
        module = copy.deepcopy(component.module).eval().requires_grad_(False)
        module = _fused(_folded(module)).to(memory_format=torch.channels_last)
        device = next((tensor.device for tensor in _tensors(module)), torch.device("cpu"))
        parts = _rows_in_cache(module, component.input_shapes) if device.type == "cpu" else None
        module = _of_functions(module)
    if compiled:
        module.compile(dynamic=True)
    if graphed_rows:
        return Graphed(module, graphed_rows)
    return module if parts is None else InParts(module, parts)


class InParts(nn.Module):
    """A module that is given at most so many rows at once.

    Args:
        module: computes each row by itself; returns a tensor or a tuple of tensors, [rows, ...].
        rows: in each part but the last.
    """

    def __init__(self, module: nn.Module, rows: int) -> None:
        super().__init__()
        self.module = module
        self.rows = rows
        # Without the call of a traced module, which would look for hooks and for errors to explain.
        self._run = module.forward if isinstance(module, fx.GraphModule) else module

    def forward(self, *inputs: Tensor) -> Any:
        """What `module` returns for all rows."""
        if inputs[0].size(0) < 2 * self.rows:
            return self._run(*inputs)
        outputs = [self._run(*part) for part in zip(*(tensor.split(self.rows) for tensor in inputs), strict=True)]
        if isinstance(outputs[0], Tensor):
            return torch.cat(outputs)
        return tuple(torch.cat(parts) for parts in zip(*outputs, strict=True))


def _folded(module: nn.Module) -> nn.Module:
    """`module` with every part that has a method `for_inference` replaced by what that returns."""
    if hasattr(module, "for_inference"):
        replacement: nn.Module = cast(Any, module).for_inference()
        return replacement.eval().requires_grad_(False)
    for name, child in module.named_children():
        setattr(module, name, _folded(child))
    return module


def _fused(module: nn.Module) -> nn.Module:
    """`module` with batch norms folded into convolutions; where it cannot be traced, its parts, each by itself."""
    if type(module).__module__.startswith("torch.nn") and not isinstance(module, nn.Sequential):
        return _with_fused_children(module) if isinstance(module, (nn.ModuleList, nn.ModuleDict)) else module
    try:
        traced = fx.symbolic_trace(module)
    except Exception:  # whatever code that follows its data raises when there is none
        return _with_fused_children(module)
    called = [node.target for node in traced.graph.nodes if node.op == "call_module"]
    # `fuse` takes each call for the only one.
    if len(called) == len(set(called)):
        traced = cast(fx.GraphModule, fuse(traced, inplace=True, no_trace=True))
    parts = dict(traced.named_modules())
    for node in traced.graph.nodes:
        if node.op == "call_module" and isinstance(parts[node.target], _IDLE):
            node.replace_all_uses_with(node.args[0])
            traced.graph.erase_node(node)
    traced.recompile()
    return traced


def _with_fused_children(module: nn.Module) -> nn.Module:
    for name, child in module.named_children():
        setattr(module, name, _fused(child))
    return module


def _of_functions(module: nn.Module) -> nn.Module:
    """`module` with traced calls of PyTorch's modules as calls of what these call."""
    if not isinstance(module, fx.GraphModule):
        for name, child in module.named_children():
            setattr(module, name, _of_functions(child))
        return module
    parts = dict(module.named_modules())
    for node in list(module.graph.nodes):
        if node.op != "call_module" or (found := _function_of(parts[node.target])) is None:
            continue
        function, tensors, rest = found
        with module.graph.inserting_before(node):
            places = []
            for number, tensor in enumerate(tensors):
                # An attribute and no parameter, since looking up a parameter takes a microsecond.
                name = f"_{node.name}_{number}"
                module.__dict__[name] = None if tensor is None else tensor.detach()
                places.append(module.graph.create_node("get_attr", name))
            called = module.graph.call_function(function, (node.args[0], *places, *rest))
        node.replace_all_uses_with(called)
        module.graph.erase_node(node)
    module.delete_all_unused_submodules()
    module.recompile()
    return module


def _function_of(module: nn.Module) -> Function | None:
    """What a module of PyTorch calls with its input: a function, tensors, other arguments. None of any other module."""
    if type(module) is nn.Conv2d and module.padding_mode == "zeros":
        arguments = (module.stride, module.padding, module.dilation, module.groups)
        return torch.conv2d, (module.weight, module.bias), arguments
    if type(module) is nn.Linear:
        return functional.linear, (module.weight, module.bias), ()
    if type(module) is nn.ReLU:
        return torch.relu_ if module.inplace else torch.relu, (), ()
    if type(module) is nn.Flatten:
        return torch.flatten, (), (module.start_dim, module.end_dim)
    if type(module) is nn.AdaptiveAvgPool2d:
        return functional.adaptive_avg_pool2d, (), (module.output_size,)
    if type(module) is nn.AdaptiveMaxPool2d and not module.return_indices:
        return functional.adaptive_max_pool2d, (), (module.output_size,)
    return None


def _rows_in_cache(module: nn.Module, input_shapes: Iterable[tuple[int, ...]]) -> int | None:
    """How many rows have activations that fit into the cache; None where a module is too small for it to matter."""
    largest = 0

    def note(module: nn.Module, inputs: Any, output: Any) -> None:
        nonlocal largest
        if isinstance(output, Tensor):
            largest = max(largest, output.numel() * output.element_size())

    handles = [part.register_forward_hook(note) for part in module.modules() if not list(part.children())]
    tensor = next(iter(_tensors(module)), torch.empty(0))
    try:
        module(*(tensor.new_zeros(1, *shape) for shape in input_shapes))
    finally:
        for handle in handles:
            handle.remove()
    return max(1, CACHED // largest) if largest else None


def _tensors(module: nn.Module) -> list[Tensor]:
    return [each for each in (*module.parameters(), *module.buffers()) if each.is_floating_point()]
