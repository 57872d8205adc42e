"""The main model: a stem, FPI layers one above the other, and a head, with an inner state that can be worked on.

The network knows nothing of images or of who decides: any modules of fitting shapes make one, and `direct` and
`re_evaluate` are all that an agent can ask of it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dynalay.components import Component
from dynalay.fpi import FPILayer
from dynalay.meter import Meter
from dynalay.regularisation import jacobian_norm
from dynalay.rows import put, take


@dataclass(frozen=True)
class InnerState:
    """What the network holds of a batch between two rounds; what the agent looks into.

    Attributes:
        inputs: u_l, what layer l receives, each [batch, ...].
        states: z_l, where layer l stands, each [batch, ...].
        residuals: |f(z, u) - z| / |f(z, u)| at the last evaluation of each layer, float [batch, layers].
        converged: whether a layer's last evaluation found it at its fixed point, bool [batch, layers].
        logits: the present answer, [batch, classes].
    """

    inputs: tuple[Float[Tensor, "batch ..."], ...]
    states: tuple[Float[Tensor, "batch ..."], ...]
    residuals: Float[Tensor, "batch layers"]
    converged: Bool[Tensor, "batch layers"]
    logits: Float[Tensor, "batch classes"]

    def copy(self) -> "InnerState":
        """One whose tensors can be overwritten without harm to this one."""
        return InnerState(
            tuple(u.clone() for u in self.inputs),
            tuple(z.clone() for z in self.states),
            self.residuals.clone(),
            self.converged.clone(),
            self.logits.clone(),
        )


class FPINetwork(nn.Module):
    """u_1 = transition_1(stem(x)), z_l = f_l(z_l, u_l), u_{l+1} = transition_{l+1}(z_l), logits = head(z_L).

    Args:
        stem: maps the input to the first transition's input.
        transitions: one per layer; `nn.Identity()` is allowed.
        layers: FPI layers; the state of each has the shape of its input u.
        head: maps the last state to logits.
        input_shape: of one sample, without the batch dimension.
        solved: which layers may be solved; the others are conventional layers whose cell runs once, from zero.
    """

    def __init__(
        self,
        stem: nn.Module,
        transitions: Sequence[nn.Module],
        layers: Sequence[FPILayer],
        head: nn.Module,
        input_shape: tuple[int, ...],
        solved: Sequence[bool] | None = None,
    ) -> None:
        super().__init__()
        if not len(transitions) == len(layers) == len(solved or layers):
            raise ValueError(f"{len(layers)} layers need as many transitions and entries of solved")
        self.stem = stem
        self.transitions = nn.ModuleList(transitions)
        self._layers = nn.ModuleList(layers)
        self.head = head
        self.input_shape = input_shape
        self.solved = tuple(solved) if solved else (True,) * len(layers)
        self.state_shapes = self._shapes()

    @property
    def layers(self) -> list[FPILayer]:
        """The FPI layers, from the lowest up."""
        return [layer for layer in self._layers if isinstance(layer, FPILayer)]

    @torch.no_grad()
    def _shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shape of each layer's state, without the batch; also that of its input."""
        training = self.training
        self.eval()
        shapes = []
        device = next(self.parameters(), torch.empty(0)).device
        hidden = self.stem(torch.zeros(1, *self.input_shape, device=device))
        self._stem_shape = tuple(hidden.shape[1:])
        for transition in self.transitions:
            hidden = transition(hidden)
            shapes.append(tuple(hidden.shape[1:]))
        self.train(training)
        return tuple(shapes)

    def components(self) -> dict[str, Component]:
        """Stem, and of each layer the transition, the cell and (if it is not free) the solver's update; the head."""
        components = {"stem": Component(self.stem, (self.input_shape,))}
        below = self._stem_shape
        for number, (transition, layer, shape) in enumerate(
            zip(self.transitions, self.layers, self.state_shapes, strict=True), start=1
        ):
            components[f"layer{number}.transition"] = Component(transition, (below,))
            components[f"layer{number}.cell"] = Component(layer.cell, (shape, shape))
            update = layer.solver.component(shape)
            if update is not None:
                components[f"layer{number}.update"] = update
            below = shape
        return components | {"head": Component(self.head, (below,))}

    def direct(self, inputs: Float[Tensor, "batch ..."], meter: Meter | None = None) -> InnerState:
        """Round 0: every cell runs once, z_l = f_l(0, u_l).  The least compute that gives an answer.

        Args:
            inputs: [batch, *input shape].
            meter: what executes; None executes without counting.
        """
        meter = meter or self._uncounted(inputs)
        hidden = meter("stem", inputs)
        us, zs = [], []
        for number in range(1, len(self.layers) + 1):
            u = meter(f"layer{number}.transition", hidden)
            hidden = meter(f"layer{number}.cell", torch.zeros_like(u), u)
            us.append(u)
            zs.append(hidden)
        batch, layers = inputs.shape[0], len(self.layers)
        return InnerState(
            tuple(us),
            tuple(zs),
            # From zero the relative residual is 1 by definition.
            residuals=torch.ones(batch, layers, device=inputs.device),
            converged=torch.zeros(batch, layers, dtype=torch.bool, device=inputs.device),
            logits=meter("head", hidden),
        )

    def re_evaluate(
        self, state: InnerState, chosen: int, rows: Int64[Tensor, "rows"], meter: Meter | None = None
    ) -> InnerState:
        """Solve layer `chosen` of the samples `rows` from where it stands, then take one step in each layer above.

        BatchNorm uses its running statistics, also in training: those of the direct pass alone.

        Args:
            state: the inner state of the whole batch; with gradients disabled its tensors are overwritten.
            chosen: a layer, counted from 0.
            rows: int64, the samples that chose it.
            meter: what executes; None executes without counting.
        """
        with _fixed_norms(self):
            return self._re_evaluate(state, chosen, rows, meter or self._uncounted(state.logits))

    def _uncounted(self, batch: Tensor) -> Meter:
        return Meter(self.components(), len(batch), batch.device, strict=False)

    def _re_evaluate(self, state: InnerState, chosen: int, rows: Tensor, meter: Meter) -> InnerState:
        inputs, states = list(state.inputs), list(state.states)
        residuals, converged = state.residuals, state.converged
        layer = self.layers[chosen]
        solution = layer(
            take(inputs[chosen], rows),
            take(states[chosen], rows),
            rows=rows,
            run=partial(meter, f"layer{chosen + 1}.cell"),
            update=partial(meter, update) if (update := f"layer{chosen + 1}.update") in meter.components else None,
        )
        hidden = solution.value
        states[chosen] = put(states[chosen], rows, hidden)
        residuals = _put_column(residuals, rows, chosen, solution.residual)
        converged = _put_column(converged, rows, chosen, solution.converged)
        for upper in range(chosen + 1, len(self.layers)):
            u = meter(f"layer{upper + 1}.transition", hidden, rows=rows)
            old = take(states[upper], rows) if self.solved[upper] else torch.zeros_like(u)
            hidden = meter(f"layer{upper + 1}.cell", old, u, rows=rows)
            gap = (hidden - old).detach().flatten(1).norm(dim=1)
            residual = gap / hidden.detach().flatten(1).norm(dim=1).clamp_min(torch.finfo(torch.float32).tiny)
            inputs[upper] = put(inputs[upper], rows, u)
            states[upper] = put(states[upper], rows, hidden)
            residuals = _put_column(residuals, rows, upper, residual)
            converged = _put_column(converged, rows, upper, residual <= self.layers[upper].relative_tolerance)
        logits = put(state.logits, rows, meter("head", hidden, rows=rows))
        if meter.listens:
            counts = [f"{count} evaluations" for count in range(layer.max_iterations + 1)]
            numbers = {"residual": solution.residual, "tolerance": layer.relative_tolerance}
            meter.decision(f"solving layer {chosen + 1}", counts, solution.iterations, numbers, logits[rows], rows)
        return replace(
            state, inputs=tuple(inputs), states=tuple(states), residuals=residuals, converged=converged, logits=logits
        )

    def jacobian_norm(
        self, state: InnerState, layer: int, meter: Meter, generator: torch.Generator
    ) -> Float[Tensor, "batch"]:
        """The squared norm of df/dz of layer `layer` (from 0) where it stands, [batch], as a penalty on its cell.

        See `dynalay.regularisation.jacobian_norm`.
        """
        cell, u = partial(meter, f"layer{layer + 1}.cell"), state.inputs[layer].detach()
        return jacobian_norm(lambda z: cell(z, u), state.states[layer], generator=generator)


@contextmanager
def _fixed_norms(network: nn.Module) -> Iterator[None]:
    """BatchNorm as it is in inference.

    What a re-evaluation normalises is otherwise distributed than in the direct pass.  With statistics of either in
    training and a mixture of both in inference, no pass would be what it was trained to be: a network of four layers
    that trained to 0.93 answered at chance.
    """
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm) and module.training]
    for norm in norms:
        norm.training = False
    try:
        yield
    finally:
        for norm in norms:
            norm.training = True


def _put_column(
    whole: Shaped[Tensor, "batch columns"], rows: Int64[Tensor, "rows"], column: int, part: Shaped[Tensor, "rows"]
) -> Shaped[Tensor, "batch columns"]:
    """`whole` [batch, columns] with `rows` of one column replaced by `part` [len(rows)]."""
    whole = whole.clone()
    whole[rows, column] = part.to(whole.dtype)
    return whole
