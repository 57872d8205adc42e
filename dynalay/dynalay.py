"""DynaLay for images: a convolutional stem, FPI layers at falling resolution, pooling and a linear head."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from torch import nn

from dynalay.cells import CELLS
from dynalay.fixed_point import Anderson, Broyden, Picard, Solver
from dynalay.fpi import FPILayer
from dynalay.introspective import IntrospectiveClassifier
from dynalay.network import FPINetwork
from dynalay.regularisation import bound_gain

#: The solvers by the names that configurations use.
SOLVERS: dict[str, type[Solver]] = {"picard": Picard, "anderson": Anderson, "broyden": Broyden}


class DynaLay(IntrospectiveClassifier):
    """The suite's image model.  `IntrospectiveClassifier` says what the agent does and how both are trained.

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
    retired: ClassVar[Mapping[str, Any]] = {
        "damping": 1.0, "hidden": 32, "lowest_price": 0.001, "temperature": 1.0, "entropy_bonus": 0.02
    }  # fmt: skip

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        classes: int,
        *,
        channels: tuple[int, ...] = (16, 32, 64),
        strides: tuple[int, ...] = (1, 2, 2),
        fpi: tuple[bool, ...] = (True, True, True),
        cell: Literal["standardised", "residual"] = "standardised",
        gain_bound: float | None = None,
        iterations: int = 4,
        tolerance: float = 1e-2,
        solver: Literal["picard", "anderson", "broyden"] = "picard",
        gradient: Literal["implicit", "phantom", "unrolled"] = "unrolled",
        phantom_steps: int = 2,
        pool: Literal["average", "maximum"] = "average",
        **options: Any,
    ) -> None:
        if not len(channels) == len(strides) == len(fpi):
            raise ValueError(f"channels={channels}, strides={strides} and fpi={fpi} must have one entry per layer")
        below = (channels[0], *channels)
        for number, (received, width, stride) in enumerate(zip(below, channels, strides, strict=False), start=1):
            if stride == 0 and received != width:
                raise ValueError(
                    f"channels={channels}, strides={strides}: layer {number} has {width} channels and receives "
                    f"{received}, so it needs a transition; give it a stride of 1 or more"
                )
        if gain_bound is not None and cell != "residual":
            raise ValueError(f"gain_bound={gain_bound} is for cell='residual'; what cell={cell!r} normalises undoes it")
        stem = nn.Sequential(*_conv_norm(image_shape[0], channels[0]))
        transitions = [
            nn.Sequential(nn.ReLU(), *_conv_norm(received, width, stride)) if stride else nn.Identity()
            for received, width, stride in zip(below, channels, strides, strict=False)
        ]
        cells = [CELLS[cell](width) for width in channels]
        layers = [
            FPILayer(
                each if gain_bound is None else bound_gain(each, gain_bound),
                solver=SOLVERS[solver](),
                gradient=gradient,
                relative_tolerance=tolerance,
                max_iterations=iterations,
                phantom_steps=phantom_steps,
            )
            for each in cells
        ]
        pooling = nn.AdaptiveAvgPool2d(1) if pool == "average" else nn.AdaptiveMaxPool2d(1)
        head = nn.Sequential(nn.ReLU(), pooling, nn.Flatten(), nn.Linear(channels[-1], classes))
        super().__init__(
            FPINetwork(stem, transitions, layers, head, image_shape, fpi),
            classes,
            **options,
        )


def _conv_norm(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs)]
