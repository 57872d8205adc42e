"""Components of a classifier, and what one execution of each costs.

A *component* is a part of a model that is executed as a unit: a stem, a cell, a segment, a gate, an agent, a head.  Its
cost is counted once, by fvcore, on the component alone and at batch size 1, because fvcore follows one traced path
(what feeds only control flow is pruned from it) and scales totals with the batch.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from fvcore.nn import FlopCountAnalysis
from torch import nn


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
        uncounted: operators that fvcore has no handler for, by how often they ran; elementwise ones, as a rule.
    """

    macs: int
    uncounted: Mapping[str, int] = field(default_factory=dict)


def _gru_cell_macs(inputs: list[Any], outputs: list[Any]) -> int:
    """`aten::gru_cell(input, hidden, w_ih, w_hh, ...)`: two matrix products; fvcore lists no handler for it."""
    batch = inputs[0].type().sizes()[0]
    return batch * sum(rows * columns for rows, columns in (inputs[2].type().sizes(), inputs[3].type().sizes()))


#: Handlers that this suite adds to fvcore's own.  Together the two are the published list of counted operators.
EXTRA_HANDLERS = {"aten::gru_cell": _gru_cell_macs}


def component_cost(component: Component) -> ComponentCost:
    """Count one execution of `component` for one sample, in inference mode.

    The module is copied to the CPU in float32 first, so that counting neither depends on nor touches the model in use.
    """
    module = copy.deepcopy(component.module).to("cpu", torch.float32).eval()
    example = tuple(torch.zeros(1, *shape) for shape in component.input_shapes)
    analysis = FlopCountAnalysis(module, example)
    analysis.set_op_handle(**EXTRA_HANDLERS)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
    return ComponentCost(int(analysis.total()), dict(sorted(analysis.unsupported_ops().items())))


def component_costs(components: Mapping[str, Component]) -> dict[str, ComponentCost]:
    """The cost of every component, in the order of `components`."""
    return {name: component_cost(component) for name, component in components.items()}
