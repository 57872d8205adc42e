"""ResNet: the static reference.  Networks of several sizes are the frontier that an adaptive method must beat.

He, Zhang, Ren & Sun, "Deep Residual Learning for Image Recognition", CVPR 2016; see `baselines.backbone`.
"""

from typing import Literal

from baselines.backbone import Backbone
from baselines.fixed import FixedNetwork


class ResNet(FixedNetwork):
    """One component that runs once, one operating point.

    Args:
        image_shape: (channels, height, width) of the normalised input.
        classes: the number of classes.
        depth: 6n + 2; 20 is the paper's smallest.
        channels: of the three stages; the paper's by default.
        strides: of the three stages; the paper's by default.
        pool: how the head pools, "average" (the paper's) or "maximum".
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        classes: int,
        *,
        depth: int = 20,
        channels: tuple[int, int, int] = (16, 32, 64),
        strides: tuple[int, int, int] = (1, 2, 2),
        pool: Literal["average", "maximum"] = "average",
    ) -> None:
        super().__init__(image_shape, classes)
        self.network = Backbone(image_shape, classes, depth, channels, strides, pool)
