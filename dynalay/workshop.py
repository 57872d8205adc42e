"""The workshop version of DynaLay for images: every FPI layer runs in the direct pass, and rounds run some again."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from dynalay.fixed_point import SOLVERS
from dynalay.fpi import FPILayer
from dynalay.introspective import IntrospectiveClassifier
from dynalay.network import FPINetwork
from dynalay.parts import image_parts
from dynalay.regularisation import bound_gain


class Workshop(IntrospectiveClassifier):
    """A convolutional stem, FPI layers at falling resolution, pooling and a linear head.

    `IntrospectiveClassifier` says what the agent does and how both are trained.

    Args:
        image_shape: (channels, height, width) of the normalised input.
        classes: the number of classes.
        channels: of each layer.
        strides: of each layer's transition; 0 for a layer without one, which receives what is below as it is.
        fpi: which layers are FPI layers; the others are conventional (one evaluation, never chosen).
        cell: what the layers iterate; see `dynalay.cells`.
        gain_bound: bounds the gain of each of the cell's convolutions (`dynalay.regularisation.bound_gain`), so that
            cells contract by construction; None leaves them free.
        iterations: evaluations of a cell that one re-evaluation may take.
        tolerance: relative residual at which a sample's layer counts as solved.
        solver: "picard", "anderson" or "broyden".
        gradient: "implicit", "phantom" or "unrolled".
        phantom_steps: differentiated steps of the phantom gradient.
        pool: how the head pools.
        **options: of the agent and of training; see `IntrospectiveClassifier`.
    """

    has_agent = True
    search_space: ClassVar = {"highest_price": (0.1, 1.0, "log"), "redundancy_penalty": (0.005, 0.1, "log")}
    retired: ClassVar[Mapping[str, Any]] = {
        "damping": 1.0, "hidden": 32, "lowest_price": 0.001, "temperature": 1.0, "entropy_bonus": 0.02,
        "estimator": "reinforce", "warmup_share": 0.0, "joint_share": 1.0, "direct_weight": 1.0,
    }  # fmt: skip

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        classes: int,
        *,
        channels: tuple[int, ...] = (16, 32, 64),
        strides: tuple[int, ...] = (1, 2, 2),
        fpi: tuple[bool, ...] = (True, True, True),
        cell: Literal["standardised", "residual", "mdeq"] = "standardised",
        gain_bound: float | None = None,
        iterations: int = 4,
        tolerance: float = 1e-2,
        solver: Literal["picard", "anderson", "broyden"] = "picard",
        gradient: Literal["implicit", "phantom", "unrolled"] = "unrolled",
        phantom_steps: int = 2,
        pool: Literal["average", "maximum"] = "average",
        **options: Any,
    ) -> None:
        if len(fpi) != len(channels):
            raise ValueError(f"channels={channels} and fpi={fpi} must have one entry per layer")
        if gain_bound is not None and cell != "residual":
            raise ValueError(f"gain_bound={gain_bound} is for cell='residual'; what cell={cell!r} normalises undoes it")
        parts = image_parts(image_shape, classes, channels, strides, cell, pool)
        layers = [
            FPILayer(
                each if gain_bound is None else bound_gain(each, gain_bound),
                solver=SOLVERS[solver](),
                gradient=gradient,
                relative_tolerance=tolerance,
                max_iterations=iterations,
                phantom_steps=phantom_steps,
            )
            for each in parts.cells
        ]
        super().__init__(
            FPINetwork(parts.stem, parts.transitions, layers, parts.head, image_shape, fpi),
            classes,
            **options,
        )
