"""Batches of images: shuffled and augmented for training, in order for everything else."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from benchmark.data import Dataset, Split
from benchmark.experiment.configuration import Recipe
from benchmark.training.augmentation import Augmentation, normalise
from benchmark.training.distributed import Team
from benchmark.training.streams import Streams

#: Evaluation has no gradients to keep, so its batches can be larger than training's: as many images as this, but no
#: more pixels than as many images of 64 x 64, since activations grow with the pixels.
EVALUATION_IMAGES = 500
EVALUATION_PIXELS = EVALUATION_IMAGES * 64 * 64


def evaluation_batch(image_shape: tuple[int, int, int]) -> int:
    """How many images of (channels, height, width) are evaluated at once."""
    _, height, width = image_shape
    return max(1, min(EVALUATION_IMAGES, EVALUATION_PIXELS // (height * width)))


def batches(
    split: Split, dataset: Dataset, device: torch.device, size: int | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """The split in order: images, float32 [batch, channels, height, width], normalised, and labels, int64 [batch].

    Args:
        split: of the dataset.
        dataset: whose mean and standard deviation normalise the images.
        device: where the batches are put.
        size: images in a batch; by default as many as `evaluation_batch` allows.
    """
    size = evaluation_batch(dataset.image_shape) if size is None else size
    for start in range(0, len(split.labels), size):
        images = split.images[start : start + size].to(device)
        yield _prepared(images, dataset), split.labels[start : start + size].to(device)


class TrainingBatches:
    """The training split, in an order of its own each epoch; samples that do not fill a batch wait for the next epoch.

    A method that holds samples out takes as many steps as one that does not: its epochs begin again with the first of
    their samples until they are as long.

    Args:
        dataset: whose training split is read.
        recipe: batch size and augmentation.
        streams: of the run; moved to each step before its batch is drawn.
        device: where batches are made.
        team: of each batch, this process gets its own part.
        held_out: the share of the split that is left out.

    Attributes:
        size: samples in a batch, all processes' parts together.
        steps: batches in an epoch.

    Raises:
        UserError: the batch cannot be shared equally by the team.
    """

    def __init__(
        self,
        dataset: Dataset,
        recipe: Recipe,
        streams: Streams,
        device: torch.device,
        team: Team,
        held_out: float = 0.0,
    ) -> None:
        self._rows, _ = divided(dataset, streams, held_out)
        self.size = min(recipe.batch_size, len(self._rows))
        self.steps = len(dataset.train.labels) // self.size
        self._part = team.part(self.size)
        self._augment = Augmentation(**recipe.augmentation.model_dump())
        self._images, self._labels = _resident(dataset.train, device)
        self._dataset, self._streams, self._device = dataset, streams, device

    def rest_of_epoch(self, step: int) -> Iterator[tuple[Tensor, Tensor]]:
        """This process's parts of the batches of `step` and of the steps after it in the same epoch.

        Yields:
            Images, float32 [part, channels, height, width], augmented and normalised, and labels, int64 [part].
        """
        epoch, first = divmod(step, self.steps)
        order = self._rows[self._streams.order(epoch, len(self._rows))]
        for index in range(first, self.steps):
            self._streams.seek(epoch * self.steps + index)
            places = torch.arange(index * self.size, (index + 1) * self.size) % len(order)
            yield self._draw(order[places])

    def _draw(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        rows = rows[self._part].to(self._images.device)
        # Augmentation is drawn for the whole batch, so it does not depend on who computes which part.
        images = self._images.new_zeros((self.size, *self._dataset.image_shape), device=self._device)
        images[self._part] = self._images[rows].to(self._device)
        images = self._augment(images, self._streams.augmentation)[self._part]
        return _prepared(images, self._dataset), self._labels[rows].to(self._device)


class SettlingBatches:
    """Some training samples once through, augmented, in an order of its own, for a method to settle on.

    Each reading has another order and other augmentations, and the first is the same again for a new object.

    Args:
        dataset: whose training split is read.
        rows: of the split, int64.
        recipe: augmentation.
        streams: of the run.
        device: where batches are made.
        before_each: called before each batch; may raise to end the reading.
    """

    def __init__(
        self,
        dataset: Dataset,
        rows: Tensor,
        recipe: Recipe,
        streams: Streams,
        device: torch.device,
        before_each: Callable[[], None],
    ) -> None:
        self._dataset, self._rows, self._streams, self._device = dataset, rows, streams, device
        self._augment = Augmentation(**recipe.augmentation.model_dump())
        self._before_each = before_each
        self._readings = 0

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        train = self._dataset.train
        order = self._rows[self._streams.settling_order(len(self._rows), self._readings)]
        self._readings += 1
        # Of no rows, `split` makes one batch without samples.
        for rows in order.split(evaluation_batch(self._dataset.image_shape)) if len(order) else ():
            self._before_each()
            images = self._augment(train.images[rows].to(self._device), self._streams.augmentation)
            yield _prepared(images, self._dataset), train.labels[rows].to(self._device)


def divided(dataset: Dataset, streams: Streams, held_out: float) -> tuple[Tensor, Tensor]:
    """Which samples of the training split a network learns from, and which are held out: int64, in order."""
    samples = len(dataset.train.labels)
    drawn = streams.held_out(samples)
    count = round(held_out * samples)
    return drawn[count:].sort().values, drawn[:count].sort().values


def _prepared(images: Tensor, dataset: Dataset) -> Tensor:
    return normalise(images, dataset.mean, dataset.std).contiguous(memory_format=torch.channels_last)


def _resident(split: Split, device: torch.device) -> tuple[Tensor, Tensor]:
    """Images and labels to draw from: copied to a GPU if they fill at most a quarter of it, else memory-mapped."""
    if device.type == "cuda" and split.images.numel() <= torch.cuda.get_device_properties(device).total_memory // 4:
        return split.images.to(device), split.labels.to(device)
    return split.images, split.labels
