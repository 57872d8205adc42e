"""DEQ: the layers of a network are fixed points, solved to a tolerance, and nobody decides.

Bai, Kolter & Koltun, "Deep Equilibrium Models", NeurIPS 2019, arXiv 1909.01377; Bai, Koltun & Kolter, "Multiscale Deep
Equilibrium Models", NeurIPS 2020, arXiv 2006.08656, and "Stabilizing Equilibrium Models by Jacobian Regularization",
ICML 2021, arXiv 2106.14342.

- A layer's output is z* = f(z*, u); gradients by the implicit function theorem, ``dL/dtheta = (dL/dz*) (I - J)^-1
  df/dtheta`` (2019, theorem 1).
- The first part of the training unrolls a few iterations (2019, appendix; 2020, section 3.3).
- A penalty on the Jacobian's norm at the fixed point keeps f a contraction (2021, eq. 6).

An operating point's knob is the relative residual at which a sample counts as solved: each sample iterates as long as
it needs, and no longer than the cap. 1 is a single evaluation, since from zero the relative residual is 1.

One more point, the policy "onwards", checks that the answers are those of fixed points: every sample iterates four
times as long as the cap allows, whatever its residual, and the note `held` says whether the answer stayed as it was.

- The cell is that of the multiscale model's residual block (2020, appendix A), at one scale:
  ``f(z, u) = GN3(ReLU(z + GN2(conv2(ReLU(GN1(conv1(z)))) + u)))``. Its group norms bound the state.

Departures. One equilibrium for each layer, at falling resolution as in the suite's other networks of cells, not several
scales solved together. Where a norm of each sample's own statistics hurts, as on mazes, `cell` names another one.
"""

from collections.abc import Iterable
from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional

from dynalay.classifier import AdaptiveClassifier, OperatingPoint, TrainingState
from dynalay.components import Component
from dynalay.fixed_point import SOLVERS, Gradient, Solution, fixed_point
from dynalay.fpi import FPILayer
from dynalay.meter import Meter
from dynalay.network import FPINetwork
from dynalay.parts import image_parts
from dynalay.regularisation import jacobian_norm
from dynalay.rows import take

#: A layer counts as converged, in notes and histories, up to this relative residual, whatever it is solved to.
CONVERGED = 1e-2


class DEQ(AdaptiveClassifier):
    """A network of layers that are solved for their fixed points.

    Notes of each sample: `residual<n>`, the relative residual of layer n; `converged`, whether that of every layer is
    1e-2 or less, whatever the tolerance; `evaluations` of a cell, the mean over the layers; `held`, see above.

    Args:
        image_shape: (channels, height, width) of the normalised input.
        classes: the number of classes.
        channels: of each layer.
        strides: of each layer's transition.
        cell: what the layers iterate; see `dynalay.cells`.
        pool: how the head pools.
        solver: "picard", "anderson" or "broyden".
        gradient: "implicit", as in the papers, "phantom" or "unrolled"; see `dynalay.fixed_point.fixed_point`.
        tolerance: relative residual at which a sample's layer is solved, in training and at the most expensive point.
        iterations: evaluations of a cell that one sample's layer may take.
        unrolled_share: of all steps, those that unroll `unrolled_iterations` in place of solving.
        unrolled_iterations: how many.
        jacobian_penalty: weight of the layers' mean squared Jacobian norm.
        points: how many tolerances the sweep has.
    """

    has_fixed_points = True
    search_space: ClassVar = {
        "unrolled_share": (0.1, 0.6, "linear"),
        "unrolled_iterations": [2, 3, 5],
        "jacobian_penalty": (0.01, 1.0, "log"),
    }

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        classes: int,
        *,
        channels: tuple[int, ...] = (16, 32, 64),
        strides: tuple[int, ...] = (1, 2, 2),
        cell: Literal["mdeq", "standardised", "residual"] = "mdeq",
        pool: Literal["average", "maximum"] = "average",
        solver: Literal["picard", "anderson", "broyden"] = "anderson",
        gradient: Literal["implicit", "phantom", "unrolled"] = "implicit",
        tolerance: float = 1e-2,
        iterations: int = 16,
        unrolled_share: float = 0.3,
        unrolled_iterations: int = 3,
        jacobian_penalty: float = 0.1,
        points: int = 8,
    ) -> None:
        super().__init__(image_shape, classes)
        self.gradient: Gradient = gradient
        self.tolerance = tolerance
        self.iterations = iterations
        self.unrolled_share = unrolled_share
        self.unrolled_iterations = unrolled_iterations
        self.jacobian_penalty = jacobian_penalty
        self.points = points
        parts = image_parts(image_shape, classes, channels, strides, cell, pool)
        layers = [FPILayer(each, solver=SOLVERS[solver]()) for each in parts.cells]
        self.network = FPINetwork(parts.stem, parts.transitions, layers, parts.head, image_shape)

    @property
    def default_point(self) -> OperatingPoint:
        """Solved to the tolerance of training."""
        return OperatingPoint(self.tolerance)

    def components(self) -> dict[str, Component]:
        return self.network.components()

    def operating_points(self, validation: Iterable[tuple[Tensor, Tensor]]) -> list[OperatingPoint]:
        """A geometric grid of tolerances from 1, a single evaluation, to that of training; nothing needs choosing."""
        steps = max(1, self.points - 1)
        tolerances = [float(f"{self.tolerance ** (n / steps):.4g}") for n in range(self.points)]
        return [*(OperatingPoint(tolerance) for tolerance in tolerances), OperatingPoint(self.tolerance, "onwards")]

    def classify(self, images: Tensor, point: OperatingPoint, meter: Meter) -> Tensor:
        logits = self._solved(images, meter, point.knob, self.iterations)
        if point.policy == "onwards":
            first, logits = logits, self._solved(images, meter, 0.0, 4 * self.iterations)
            meter.note("held", (logits.argmax(dim=1) == first.argmax(dim=1)).float())
        return logits

    def _solved(self, images: Tensor, meter: Meter, tolerance: float, iterations: int) -> Tensor:
        """Logits [batch, classes] of layers solved to a relative residual, and notes on how they ended."""
        hidden, solutions = meter("stem", images), []
        for n in range(1, len(self.network.layers) + 1):
            u = meter(f"layer{n}.transition", hidden)
            solution = self._equilibrium(n, u, meter, tolerance, iterations)
            meter.note(f"residual{n}", solution.residual)
            hidden = solution.value
            solutions.append(solution)
            if tolerance > 0:  # where it is 0, nobody decides when to stop
                meter.decision(
                    f"layer {n}", [f"{count} evaluations" for count in range(iterations + 1)], solution.iterations,
                    {"residual": solution.residual, "tolerance": tolerance}, partial(self._hurried, n, hidden),
                )  # fmt: skip
        largest = torch.stack([solution.residual for solution in solutions]).amax(dim=0)
        meter.note("converged", (largest <= CONVERGED).float())
        evaluations = torch.stack([solution.iterations for solution in solutions])
        meter.note("evaluations", evaluations.float().mean(dim=0))
        return meter("head", hidden)

    def _hurried(self, layer: int, value: Tensor) -> Tensor:
        """The logits [batch, classes] if the layers above `layer` were evaluated once; for `Meter.decision`."""
        aside = Meter(self.components(), len(value), value.device)
        for above in range(layer + 1, len(self.network.layers) + 1):
            value = self._equilibrium(above, aside(f"layer{above}.transition", value), aside, 1.0, 1).value
        return aside("head", value)

    def training_loss(
        self, images: Tensor, labels: Tensor, meter: Meter, state: TrainingState
    ) -> tuple[Tensor, dict[str, Tensor]]:
        unrolled = state.progress < self.unrolled_share
        hidden = meter("stem", images)
        norms, logs = [], {}
        for n in range(1, len(self.network.layers) + 1):
            u = meter(f"layer{n}.transition", hidden)
            if unrolled:
                solution = self._equilibrium(n, u, meter, 0.0, self.unrolled_iterations, "unrolled")
            else:
                solution = self._equilibrium(n, u, meter, self.tolerance, self.iterations, self.gradient)
            cell, given, hidden = f"layer{n}.cell", u.detach(), solution.value
            if self.jacobian_penalty:
                norm = jacobian_norm(partial(_applied, meter, cell, given), hidden, generator=state.generator)
                norms.append(norm.mean())
            logs[f"residual{n}"] = solution.residual.detach().clamp_min(1e-6).log().mean().exp()
            logs[f"converged{n}"] = (solution.residual.detach() <= CONVERGED).float().mean()
            logs[f"evaluations{n}"] = solution.iterations.float().mean()
        loss = functional.cross_entropy(meter("head", hidden), labels)
        logs["classification_loss"] = loss.detach()
        if norms:
            penalty = torch.stack(norms).mean()
            loss, logs["jacobian"] = loss + self.jacobian_penalty * penalty, penalty.detach()
        return loss, logs

    def _equilibrium(
        self,
        n: int,
        u: Tensor,
        meter: Meter,
        tolerance: float,
        iterations: int,
        gradient: Gradient = "implicit",
    ) -> Solution:
        """Layer `n` solved from zero for its input u [batch, channels, height, width]."""
        update = f"layer{n}.update"
        return fixed_point(
            lambda z, rows: meter(f"layer{n}.cell", z, take(u, rows), rows=rows),
            torch.zeros_like(u),
            gradient=gradient,
            solver=self.network.layers[n - 1].solver,
            relative_tolerance=tolerance,
            max_iterations=iterations,
            update=partial(meter, update) if update in meter.components else None,
        )


def _applied(meter: Meter, cell: str, u: Tensor, z: Tensor) -> Tensor:
    return meter(cell, z, u)
