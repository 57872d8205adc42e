"""Augmentation of whole batches on the device where they lie: one gather for all samples, no loop over them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


def normalise(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Float32 images of mean 0 and standard deviation 1 per channel, from uint8 [batch, channels, height, width].

    Args:
        images: uint8; the memory format is kept.
        mean, std: of each channel of ``images / 255``.
    """
    scale = torch.tensor([1 / (255 * s) for s in std], device=images.device).view(-1, 1, 1)
    shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)], device=images.device).view(-1, 1, 1)
    return torch.addcmul(shift, images.float(), scale)


@dataclass(frozen=True)
class Augmentation:
    """Random transformations, drawn for each sample by itself.

    Attributes:
        crop: the image is moved by up to so many pixels each way, zeros moving in (a random crop of the padded image).
        flip: it is mirrored left to right with probability one half.
        cutout: the side of a square of zeros put at a random place (DeVries & Taylor 2017); 0 for none.
        dihedral: it is turned and mirrored by one of the square's 8 symmetries; images must be square.
    """

    crop: int = 0
    flip: bool = False
    cutout: int = 0
    dihedral: bool = False

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Augmented images, from uint8 [batch, channels, height, width] and a stream on their device."""
        if not (self.crop or self.flip or self.cutout or self.dihedral):
            return images
        batch, _, height, width = images.shape
        device = images.device

        def integers(high: int) -> Tensor:
            return torch.randint(high, (batch, 1, 1), generator=generator, device=device)

        # Where each pixel of the result comes from, [batch, height, width] or broadcastable to it.
        row = torch.arange(height, device=device).view(1, -1, 1).expand(batch, height, width)
        column = torch.arange(width, device=device).view(1, 1, -1).expand(batch, height, width)
        visible = torch.ones((), dtype=torch.bool, device=device)
        if self.cutout:
            top, left = integers(height) - self.cutout // 2, integers(width) - self.cutout // 2
            inside = (row >= top) & (row < top + self.cutout) & (column >= left) & (column < left + self.cutout)
            visible = visible & ~inside
        if self.crop:
            row = row + integers(2 * self.crop + 1) - self.crop
            column = column + integers(2 * self.crop + 1) - self.crop
            visible = visible & (row >= 0) & (row < height) & (column >= 0) & (column < width)
            row, column = row.clamp(0, height - 1), column.clamp(0, width - 1)
        if self.flip:
            column = torch.where(integers(2).bool(), width - 1 - column, column)
        if self.dihedral:
            row = torch.where(integers(2).bool(), height - 1 - row, row)
            column = torch.where(integers(2).bool(), width - 1 - column, column)
            transposed = integers(2).bool()
            row, column = torch.where(transposed, column, row), torch.where(transposed, row, column)
        source = (row * width + column).view(batch, 1, -1).expand(-1, images.shape[1], -1)
        moved = images.flatten(2).gather(2, source).view(images.shape)
        return moved * visible.unsqueeze(1) if visible.ndim else moved
