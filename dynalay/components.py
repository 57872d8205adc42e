"""Components of a classifier, and what one execution of each costs.

A *component* is a part of a model that is executed as a unit: a stem, a cell, a segment, a gate, an agent, a head.  Its
cost is counted once, by fvcore, on the component alone and at batch size 1, because fvcore follows one traced path
(what feeds only control flow is pruned from it) and scales totals with the batch.
"""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from fvcore.nn import FlopCountAnalysis
from torch import nn

from dynalay.operators import HANDLERS, UncountedOperatorError, is_free


@dataclass(frozen=True)
class Component:
    """A module that is executed as a unit.

    Attributes:
        module: what is executed; all its outputs that matter must be returned tensors.
        input_shapes: the shape of each input for *one* sample, without the batch dimension.
    """

    module: nn.Module
    input_shapes: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class ComponentCost:
    """What one execution of a component costs for one sample.

    Attributes:
        macs: multiply-accumulates, as fvcore counts them (one MAC is one fvcore "flop").
        uncounted: the free operators that ran and how often, as far as fvcore lists them.
    """

    macs: int
    uncounted: Mapping[str, int] = field(default_factory=dict)


def component_cost(component: Component) -> ComponentCost:
    """Count one execution of `component` for one sample, in inference mode.

    The module is copied to the CPU in float32 first, so that counting neither depends on nor touches the model in use.

    Raises:
        UncountedOperatorError: an operator is neither counted nor on the list of free ones (`dynalay.operators`), or
            is hidden from the trace (a scripted function, a `torch.autograd.Function`).
    """
    module = copy.deepcopy(component.module).to("cpu", torch.float32).eval()
    example = tuple(torch.zeros(1, *shape) for shape in component.input_shapes)
    analysis = FlopCountAnalysis(module, example)
    analysis.set_op_handle(**HANDLERS)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
    with _attention_by_its_operators():
        macs = int(analysis.total())
    uncounted = dict(sorted(analysis.unsupported_ops().items()))
    unknown = [operator for operator in uncounted if not is_free(operator)]
    if unknown:
        raise UncountedOperatorError(
            f"{', '.join(unknown)}: no MACs are known for it, and it is not on the list of free operators. "
            "Write it with operators that are counted, or add a handler to dynalay.operators.HANDLERS"
        )
    return ComponentCost(macs, uncounted)


@contextmanager
def _attention_by_its_operators() -> Iterator[None]:
    """Without the fused kernel of `nn.MultiheadAttention`, which does the same products inside one opaque operator."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


def component_costs(components: Mapping[str, Component]) -> dict[str, ComponentCost]:
    """The cost of every component, in the order of `components`.

    Raises:
        UncountedOperatorError: as `component_cost` does, with the component's name.
    """
    costs = {}
    for name, component in components.items():
        try:
            costs[name] = component_cost(component)
        except UncountedOperatorError as error:
            raise UncountedOperatorError(f"component {name!r}: {error}") from None
    return costs
