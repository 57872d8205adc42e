"""The residual network that the baselines share, so that they are compared like for like.

He, Zhang, Ren & Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2: a 3x3 convolution, three
stages of n basic units each at falling resolution, average pooling and a linear layer; depth = 6n + 2. It is timm's
`ResNet` with the stem for small images. As in timm, and other than in the paper: projection shortcuts where the
resolution changes (option B; the paper's CIFAR networks pad with zeros) and the last norm of each unit starts at zero.
Strides and pooling can be those of another ground, on which all methods of an experiment stand.
"""

from math import ceil, prod
from typing import Any

from timm.models.resnet import BasicBlock, ResNet, downsample_conv
from torch import nn


class Backbone(ResNet):
    """A CIFAR-style ResNet, whole (`forward`) or in its parts (`stem`, `stages`, `head`).

    `shapes` holds (channels, height, width) after each stage, `stem_shape` after the stem.

    Args:
        image_shape: (channels, height, width) of the input.
        classes: the number of classes.
        depth: 6n + 2 for n units a stage: 8, 14, 20, 32, 44, 56, 110, ...
        channels: of the three stages; the first one even.
        strides: of the three stages' first units; the paper's by default.
        pool: how the head pools, "average" (the paper's) or "maximum".

    Raises:
        ValueError: depth is not 6n + 2 for any n >= 1, the first stage's channels are odd, or there are not three
            channels and three strides.
    """

    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        classes: int,
        depth: int,
        channels: tuple[int, int, int],
        strides: tuple[int, int, int] = (1, 2, 2),
        pool: str = "average",
    ) -> None:
        units, remainder = divmod(depth - 2, 6)
        if units < 1 or remainder:
            raise ValueError(f"depth={depth} is not 6n + 2; take 8, 14, 20, 32, 44, 56, 110, ...")
        if channels[0] % 2:
            raise ValueError(f"channels={channels}: the first number must be even")
        if not len(channels) == len(strides) == 3 or min(strides) < 1:
            raise ValueError(f"channels={channels}, strides={strides}: a ResNet has three stages, strides 1 or more")
        # timm's plain stem always has 64 channels; its deep one has 2 * stem_width, and what differs is replaced.
        super().__init__(
            BasicBlock,  # type: ignore[arg-type]
            (units, units, units),
            in_chans=image_shape[0],
            num_classes=classes,
            channels=tuple(channels),
            stem_type="deep",
            stem_width=channels[0] // 2,
            global_pool="avg" if pool == "average" else "max",
        )
        self.conv1 = nn.Conv2d(image_shape[0], channels[0], 3, padding=1, bias=False)  # type: ignore[assignment]
        self.maxpool = nn.Identity()  # type: ignore[assignment]
        self.layer4 = nn.Identity()
        for stage, stride, received in zip(self.stages, strides, (channels[0], *channels), strict=False):
            _set_stride(stage[0], stride, received)
        self.init_weights()

        _, height, width = image_shape
        self.stem_shape = (channels[0], height, width)
        reductions = [prod(strides[: k + 1]) for k in range(3)]
        self.shapes = [(c, ceil(height / r), ceil(width / r)) for c, r in zip(channels, reductions, strict=True)]

    @property
    def stem(self) -> nn.Sequential:
        """Image to features [channels[0], height, width], at the image's resolution."""
        return nn.Sequential(self.conv1, self.bn1, self.act1)

    @property
    def stages(self) -> tuple[nn.Sequential, nn.Sequential, nn.Sequential]:
        """The three stages, each a sequence of residual units; the first unit has the stage's stride."""
        return self.layer1, self.layer2, self.layer3

    @property
    def units(self) -> list[nn.Module]:
        """The residual units of all stages, in order."""
        return [unit for stage in self.stages for unit in stage]

    @property
    def unit_shapes(self) -> list[tuple[int, int, int]]:
        """(channels, height, width) after each unit."""
        return [shape for shape, stage in zip(self.shapes, self.stages, strict=True) for _ in stage]

    @property
    def head(self) -> nn.Sequential:
        """The last stage's features to logits."""
        return nn.Sequential(self.global_pool, self.fc)


def _set_stride(unit: Any, stride: int, received: int) -> None:
    """Give the first unit of a stage another stride than timm's, and the shortcut that it then needs."""
    if stride == unit.stride:
        return
    unit.stride = stride
    unit.conv1.stride = (stride, stride)
    width = unit.conv2.out_channels
    needed = stride > 1 or received != width
    unit.downsample = downsample_conv(received, width, kernel_size=1, stride=stride) if needed else None
