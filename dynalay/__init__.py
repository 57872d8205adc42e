"""Networks that decide, for every input, which of their layers to evaluate again, and when to answer.

The parts, from the ground up; each can be used alone (`docs/library.md` shows how):

- `solve` and `fixed_point`: fixed points of batches in which every sample has its own convergence, and their gradients.
- `FPILayer`: a layer whose output is the fixed point of any cell.
- `FPINetwork`: any stem, FPI layers and head, with an inner state that can be worked on.
- `Agent`, in `IntrospectiveClassifier`: chooses layers or the direct action, and is trained with the network.
- `DynaLay`: the image model of the suite.
- `Component` and `Meter`: what is executed is counted by the call that executes it.

Example: an FPI layer of a cell of one's own, and its gradient.
    >>> import torch
    >>> from torch import nn
    >>> from dynalay import FPILayer
    >>> class Cell(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.linear = nn.Linear(8, 8)
    ...
    ...     def forward(self, z, u):
    ...         return u + 0.5 * torch.tanh(self.linear(z))
    >>> layer = FPILayer(Cell(), gradient="implicit", relative_tolerance=1e-4)
    >>> solution = layer(torch.randn(4, 8))
    >>> solution.value.shape, solution.converged.all().item()
    (torch.Size([4, 8]), True)
    >>> solution.value.sum().backward()
    >>> layer.cell.linear.weight.grad.shape
    torch.Size([8, 8])

Example: the image model at one price of compute, and what each image cost.
    >>> from dynalay import DynaLay
    >>> model = DynaLay((1, 8, 8), classes=10)
    >>> prediction = model.predict(torch.randn(2, 1, 8, 8), price=0.01)
    >>> prediction.logits.shape, prediction.macs.shape
    (torch.Size([2, 10]), torch.Size([2]))
"""

from dynalay.agent import Agent
from dynalay.classifier import AdaptiveClassifier, OperatingPoint, Phase, Prediction, TrainingState
from dynalay.components import Component, ComponentCost, component_cost, component_costs
from dynalay.dynalay import DynaLay
from dynalay.fixed_point import Anderson, Broyden, Picard, Solution, Solver, fixed_point, solve
from dynalay.fpi import FPILayer
from dynalay.introspective import IntrospectiveClassifier
from dynalay.meter import Meter
from dynalay.network import FPINetwork, InnerState
from dynalay.operators import UncountedOperatorError
from dynalay.pretrained import PretrainedError
from dynalay.regularisation import bound_gain, jacobian_norm
from dynalay.streaming import stream
from dynalay.workshop import Workshop

__all__ = [
    "AdaptiveClassifier",
    "Agent",
    "Anderson",
    "Broyden",
    "Component",
    "ComponentCost",
    "DynaLay",
    "FPILayer",
    "FPINetwork",
    "InnerState",
    "IntrospectiveClassifier",
    "Meter",
    "OperatingPoint",
    "Phase",
    "Picard",
    "Prediction",
    "PretrainedError",
    "Solution",
    "Solver",
    "TrainingState",
    "UncountedOperatorError",
    "Workshop",
    "bound_gain",
    "component_cost",
    "component_costs",
    "fixed_point",
    "jacobian_norm",
    "solve",
    "stream",
]
