"""The contract that every classifier of the suite fulfils, static or adaptive."""

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from dynalay.components import Component, ComponentCost, component_costs
from dynalay.inference import optimised, optimised_components
from dynalay.meter import Meter
from dynalay.pretrained import Pretrained
from dynalay.trace import Gains

#: A batch of inputs: [batch, channels, height, width] for all methods of the suite.
Images = Float[Tensor, "batch *shape"]
Labels = Int64[Tensor, "batch"]
Logits = Float[Tensor, "batch classes"]
Loss = Float[Tensor, ""]

M = TypeVar("M", bound="AdaptiveClassifier")


@dataclass(frozen=True)
class OperatingPoint:
    """One setting of a method's inference-time knob.

    Attributes:
        knob: the number by which the curve is traced: a threshold, a price of compute; NaN for a static network.
        policy: "own" for the method as published, else the control that decides in its place ("random", ...).
        setting: all that `classify` needs to know, where the knob alone does not say it.
    """

    knob: float
    policy: str = "own"
    setting: Any = None

    @property
    def name(self) -> str:
        return f"{self.policy}:{self.knob:g}"


@dataclass(frozen=True)
class Phase:
    """A part of training with a learning-rate cycle of its own.

    Attributes:
        name: as it stands in histories.
        start: the share of all optimiser steps at which it begins.
        peak: its highest learning rate, as a share of the recipe's.
    """

    name: str
    start: float = 0.0
    peak: float = 1.0


@dataclass(frozen=True)
class TrainingState:
    """Where training stands, as `training_loss` may need it.

    Attributes:
        progress: the share of the phase's optimiser steps already taken, in [0, 1).
        generator: the random stream for what a method samples itself (actions, prices); on the device of the batch.
        phase: the phase's name.
    """

    progress: float
    generator: torch.Generator
    phase: str = "training"


@dataclass(frozen=True)
class Prediction:
    """What `AdaptiveClassifier.predict` gives.

    Attributes:
        logits: [batch, classes], an inference tensor.
        labels: the most probable classes, int64 [batch].
        macs: multiply-accumulates spent on each sample, int64 [batch].
    """

    logits: Logits
    labels: Labels
    macs: Int64[Tensor, "batch"]


class AdaptiveClassifier(Pretrained, ABC):
    """A classifier that may spend a different amount of compute on each sample.

    A subclass is constructed as ``Method(image_shape, classes, **parameters)`` where the parameters are keyword-only,
    annotated with built-in types and have literal defaults: the configuration is checked against this signature.  It
    executes its components through the meter and in no other way.

    Args:
        image_shape: of one input, normalised; (channels, height, width) for all methods of the suite.
        classes: the number of classes.
    """

    #: Whether an agent chooses what to compute, and records hold its actions; figures of agents show such methods.
    has_agent: bool = False
    #: Whether its layers are solved for fixed points, and records note whether samples `converged`, after how many
    #: `evaluations`, and, under the policy "onwards", whether an answer `held` when iterated on.
    has_fixed_points: bool = False
    #: In order of their starts, the first at 0.
    phases: tuple[Phase, ...] = (Phase("training"),)
    #: The share of the training split that `training_loss` never gets, because `settle` needs it.
    held_out: float = 0.0
    #: A method raises it when the same parameters give another result: its old results are then stale.
    version: ClassVar[int] = 1
    #: Parameters that no longer exist, with the value under which old results remain valid.  Both are literals, as
    #: they are read without importing.
    retired: ClassVar[Mapping[str, Any]] = {}
    #: What tuning may choose besides the learning rate and the weight decay, at most four parameters, as literals: a
    #: range ``(low, high, "log" or "linear")``, or a list of choices.
    search_space: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, image_shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.image_shape = image_shape
        self.classes = classes
        self._fixed_components: Mapping[str, Component] | None = None
        self._macs_by_shapes: dict[tuple[tuple[tuple[int, ...], ...], ...], Tensor] = {}

    @abstractmethod
    def components(self) -> dict[str, Component]:
        """Every part that `training_loss` and `classify` execute, by name, in the order in which they first run."""

    @abstractmethod
    def training_loss(
        self, images: Images, labels: Labels, meter: Meter, state: TrainingState
    ) -> tuple[Loss, dict[str, Tensor]]:
        """The loss to minimise on a batch, and scalars to log (each a detached 0-dimensional tensor).

        Args:
            images: float [batch, channels, height, width], normalised.
            labels: int64 [batch].
            meter: a fresh meter for this batch.
            state: phase, progress and random stream.
        """

    @abstractmethod
    def classify(self, images: Images, point: OperatingPoint, meter: Meter) -> Logits:
        """Logits [batch, classes] at an operating point; a sample that is finished is computed no further."""

    def forward(self, images: Images, point: OperatingPoint | None = None) -> Logits:
        """Logits [batch, classes], in the caller's gradient mode: for your own loss, and for wrappers such as DDP.

        It trains the main path. What a method learns with, beside that path, takes `training_loss`.

        Args:
            images: float [batch, channels, height, width], normalised; of any resolution that the network allows.
            point: the operating point; None means `default_point`.
        """
        meter = Meter(self.components(), len(images), images.device, strict=False)
        return self.classify(images, self.default_point if point is None else point, meter)

    def predict(self, images: Images, *, price: float | None = None, point: OperatingPoint | None = None) -> Prediction:
        """Classify in evaluation mode, without gradients, and count what each sample cost.

        The components run as `dynalay.inference` optimises them, again after each change of a weight; `for_inference`
        does it once. Their costs are those of the components as they are. The modes of all modules are as before
        afterwards. Images of another resolution than `image_shape` are counted at their own; the first batch of each
        resolution takes longer, since costs are counted once for each.

        Args:
            images: float [batch, channels, height, width], normalised; on the device of the model.
            price: the price of compute, for methods with an agent: short for ``OperatingPoint(price)``.
            point: any operating point; None, without a price, means `default_point`.

        Raises:
            ValueError: both a price and a point are given, or the method knows no price.
        """
        if price is not None:
            if point is not None:
                raise ValueError(f"predict(price={price}, point={point}): give one of them")
            if not self.has_agent:
                raise ValueError(f"{type(self).__name__} has no agent that knows a price: give an operating point")
            point = OperatingPoint(price)
        meter = Meter(self.inference_components(), len(images), images.device, strict=False)
        with nullcontext() if self._fixed_components else evaluating(self), torch.inference_mode():
            logits = self.classify(images, self.default_point if point is None else point, meter)
        return self.prediction(logits, meter)

    def prediction(self, logits: Logits, meter: Meter) -> Prediction:
        """What `predict` gives, from `logits` [batch, classes] and the meter that counted them."""
        macs = meter.macs(self._macs_as_run(meter).to(logits.device))
        return Prediction(logits, logits.argmax(dim=1), macs)

    def inference_components(self) -> Mapping[str, Component]:
        """The components as they run fastest (`dynalay.inference`), with the weights as they are now.

        Give them to a meter, and `classify` is fast; counts are those of `components`, answers equal up to rounding.
        """
        return self._fixed_components or optimised_components(self, self.components())

    def for_inference(self: M, *, compiled: bool = False, graphed_batches: Collection[int] = ()) -> M:
        """A copy whose weights do not change any more, so that `predict` has nothing to watch.

        Move the model to its device first. The copy cannot be trained or moved.

        Args:
            compiled: whether `torch.compile` compiles each component when it first runs, which takes seconds to
                minutes and needs a compiler; what it brings depends on the device (`timings/README.md`).
            graphed_batches: batch sizes at which each component runs as one CUDA graph, as long as all samples are
                active; for small networks on a GPU.

        Raises:
            ValueError: `graphed_batches` are given, and the model is not on a GPU.
        """
        fixed = copy.deepcopy(self).eval().requires_grad_(False)
        fixed._fixed_components = optimised(fixed.components(), compiled=compiled, graphed_rows=graphed_batches)
        return fixed

    def classify_at(self, images: Images, points: Sequence[OperatingPoint]) -> Iterator[tuple[Tensor, Meter]]:
        """Classify a batch at several operating points, one after the other.

        By default each point is run.  A method whose points differ only in when a sample stops may run the batch once,
        as far as any sample goes, and decide each point from that.  Executions and notes must be those of `classify`;
        logits may differ by rounding, since `classify` computes them in smaller batches once samples have left.

        Args:
            images: float [batch, channels, height, width], normalised.
            points: distinct operating points.

        Yields:
            For each point, logits [batch, classes] and the meter that holds its executions and notes.
        """
        components = self.components()
        for point in points:
            meter = Meter(components, len(images), images.device)
            yield self.classify(images, point, meter), meter

    @abstractmethod
    def operating_points(self, validation: Iterable[tuple[Tensor, Tensor]]) -> list[OperatingPoint]:
        """The operating points to evaluate, in any order.

        Args:
            validation: batches (images, labels) of the validation split: all that thresholds may be chosen on.
        """

    def settle(
        self,
        batches: Iterable[tuple[Tensor, Tensor]],
        unseen: Iterable[tuple[Tensor, Tensor]],
        generator: torch.Generator,
    ) -> int:
        """Fit what is fitted on the network as training left it; the forward MACs that this took.

        Called once, after the last training step and before any operating point is chosen, in evaluation mode. By
        default there is nothing to do. A run that is interrupted here starts this again from the last training step.

        Args:
            batches: images, float [batch, channels, height, width], normalised and augmented, and labels, int64
                [batch]: what training learnt from, in an order of its own; each reading draws other augmentations.
                Reading a batch may raise, if the run is to stop.
            unseen: the same of what was `held_out`; empty where that is 0.
            generator: the random stream for all that is drawn; on the device of the batches.
        """
        return 0

    def gains(self, images: Images, labels: Labels, points: Sequence[OperatingPoint]) -> Gains | None:
        """What an agent expects of each layer against what comes of it; None for a method that predicts no gains.

        Args:
            images: float [batch, channels, height, width], normalised.
            labels: int64 [batch].
            points: at which the agent decides.
        """
        return None

    @property
    def default_point(self) -> OperatingPoint:
        """The point for where only one can be shown, such as validation while training: as a rule, full compute."""
        return OperatingPoint(math.nan)

    def component_macs(self) -> Int64[Tensor, "components"]:
        """MACs of one execution of each component for one sample: int64 [components], on the CPU; counted once."""
        if not hasattr(self, "_component_macs"):
            self._component_macs = torch.tensor([cost.macs for cost in self.component_costs().values()])
        return self._component_macs

    def component_costs(self) -> dict[str, ComponentCost]:
        """What one execution of each component costs for one sample, in the order of `components`; counted once."""
        if not hasattr(self, "_component_costs"):
            self._component_costs = component_costs(self.components())
        return self._component_costs

    def _macs_as_run(self, meter: Meter) -> Tensor:
        """`component_macs` for the input shapes that a meter saw; counted once for each combination of shapes."""
        if meter.ran_as_declared:
            return self.component_macs()
        as_run = meter.input_shapes
        shapes = tuple(as_run.values())
        if shapes not in self._macs_by_shapes:
            # Of the components as they are; the meter's may be optimised.
            components = self.components().items()
            costs = component_costs({name: Component(each.module, as_run[name]) for name, each in components})
            self._macs_by_shapes[shapes] = torch.tensor([cost.macs for cost in costs.values()])
        return self._macs_by_shapes[shapes]


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Every module in evaluation mode, and afterwards each in its own again."""
    training = [module for module in model.modules() if module.training]
    if training:
        model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
