"""Augmentation of whole batches on the device that holds them: one gather for all samples, no loop over them."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


def normalise(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Float32 images of mean 0 and standard deviation 1 per channel, in the memory format of `images`.

    Args:
        images: uint8 [batch, channels, height, width].
        mean: of each channel of ``images / 255``.
        std: of each channel of ``images / 255``.
    """
    scale, shift = _scale_and_shift(tuple(mean), tuple(std), images.device)
    return torch.addcmul(shift, images.float(), scale)


@functools.cache  # a copy to the device makes the host wait: once, not in every step
def _scale_and_shift(mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    moments = torch.tensor([mean, std], dtype=torch.float64).view(2, -1, 1, 1)
    scale, shift = 1 / (255 * moments[1]), -moments[0] / moments[1]
    return scale.float().to(device), shift.float().to(device)


@dataclass(frozen=True)
class Augmentation:
    """Random transformations, drawn independently for each sample.

    Attributes:
        crop: the image is shifted by up to this many pixels each way, zeros filling the gap: a random crop of the
            padded image.
        flip: it is mirrored left to right with probability one half.
        dihedral: it is rotated and mirrored by one of the square's 8 symmetries; images must be square.
    """

    crop: int = 0
    flip: bool = False
    dihedral: bool = False

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Augmented images, of the shape and type of `images`; labels are unchanged.

        Args:
            images: uint8 [batch, channels, height, width].
            generator: the random stream, on the device of the images.

        Raises:
            ValueError: `dihedral` is set, and the images are not square.
        """
        if not (self.crop or self.flip or self.dihedral):
            return images
        batch, channels, height, width = images.shape
        if self.dihedral and height != width:
            raise ValueError(f"dihedral augmentation needs square images, not {height} x {width}")
        device = images.device

        def integers(high: int) -> Tensor:
            return torch.randint(high, (batch, 1, 1), generator=generator, device=device)

        # Where each pixel of the result comes from, [batch, height, width] or broadcastable to it.
        row = torch.arange(height, device=device).view(1, -1, 1).expand(batch, height, width)
        column = torch.arange(width, device=device).view(1, 1, -1).expand(batch, height, width)
        visible = torch.ones_like(row, dtype=torch.bool)
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
        source = (row * width + column).view(batch, 1, -1).expand(-1, channels, -1)
        return images.flatten(2).gather(2, source).view(images.shape) * visible.unsqueeze(1)
