"""Images per second of the suite's training loop against the ordinary one, torchvision's `DataLoader` image by image.

    python -m timings.training [--depth 8] [--device cuda --workers 8 --threads 8]
    python -m timings.training --depth 18 --device cuda       ResNet-18, with 64 to 512 channels

Same network, batch size, precision, augmentation, optimiser and gradient clipping.  The loops take turns, so that other
load on the machine slows all; a ratio compares neighbours in time.  Where there is much of it, --processor-time counts
what one thread spends, the images' decoding included: with all cores busy, throughput is its inverse.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from PIL import Image
from timm.models.resnet import resnet18
from torch import Tensor, nn
from torch.nn import functional
from torch.utils import data as torch_data
from torchvision import transforms

from baselines.backbone import Backbone
from baselines.fixed import FixedNetwork
from benchmark.data import Dataset, Split
from benchmark.experiment.runs import Run
from benchmark.experiment.schema import Augmentation, Recipe
from benchmark.training.loop import train
from benchmark.training.precision import autocast
from benchmark.training.stopping import StopRequest

SHAPE, CLASSES, BATCH = (3, 32, 32), 10, 128
MEAN, STD = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)
RECIPE = Recipe(epochs=1, batch_size=BATCH, precision="bfloat16", augmentation=Augmentation(crop=4, flip=True))

Clock = Callable[[], float]


def small_image_resnet18() -> nn.Module:
    """ResNet-18 as it is used on 32x32 images: a 3x3 convolution in place of the 7x7 one and the pooling."""
    network = resnet18(num_classes=CLASSES)
    network.conv1, network.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    return network


class ResNet18(FixedNetwork):
    """A network of ordinary size, as a method of the suite."""

    def __init__(self, image_shape: tuple[int, int, int], classes: int) -> None:
        super().__init__(image_shape, classes)
        self.network = small_image_resnet18()


class FirstStep(StopRequest):
    """Is asked after every step whether to stop, and notes when it first was: training has then been set up."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.time: float | None = None

    @property
    def signal(self) -> None:  # type: ignore[override]
        if self.time is None:
            self.time = self.clock()


def suite_loop(images: Tensor, labels: Tensor, depth: int, device: torch.device, clock: Clock) -> Callable[[], float]:
    """Images per second of one epoch of `benchmark.training.loop.train`, but for the first step."""

    def split(samples: int) -> Split:
        return Split(images[:samples], labels[:samples], torch.full((samples,), torch.nan))

    classes = tuple(map(str, range(CLASSES)))
    dataset = Dataset("random", classes, MEAN, STD, split(len(labels)), split(1), split(1), None, "")
    kind, parameters = ("timings.training:ResNet18", {}) if depth == 18 else ("resnet", {"depth": depth})
    run = Run("speed", "random", "resnet", 0, "random", {}, kind, parameters, RECIPE)

    def epoch() -> float:
        first = FirstStep(clock)
        with tempfile.TemporaryDirectory() as folder:
            train(run, dataset, Path(folder), device, first, lambda line: None)
        assert first.time is not None
        return (len(labels) // BATCH - 1) * BATCH / (clock() - first.time)

    return epoch


def ordinary_loop(
    images: Tensor,
    labels: Tensor,
    depth: int,
    device: torch.device,
    clock: Clock,
    workers: int,
    memory_format: torch.memory_format,
) -> Callable[[], float]:
    """Images per second of one epoch with a `DataLoader` whose workers are already running."""
    transform = transforms.Compose(
        [
            transforms.RandomCrop(SHAPE[1], padding=RECIPE.augmentation.crop),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )

    class Images(torch_data.Dataset[tuple[Tensor, int]]):
        """As torchvision's own datasets read: an array, an image, its transforms."""

        pixels = images.permute(0, 2, 3, 1).contiguous().numpy()
        targets = labels.tolist()

        def __len__(self) -> int:
            return len(self.targets)

        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            return transform(Image.fromarray(self.pixels[index])), self.targets[index]

    loader = torch_data.DataLoader(
        Images(),
        BATCH,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=device.type == "cuda",
    )
    network = small_image_resnet18() if depth == 18 else Backbone(SHAPE, CLASSES, depth, (16, 32, 64))
    network = network.to(device).to(memory_format=memory_format)
    optimizer = torch.optim.AdamW(network.parameters(), lr=RECIPE.learning_rate, weight_decay=RECIPE.weight_decay)

    def steps() -> Iterator[None]:
        for batch, targets in loader:
            batch = batch.to(device, memory_format=memory_format, non_blocking=True)
            with autocast(RECIPE, device):
                loss = functional.cross_entropy(network(batch), targets.to(device, non_blocking=True))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), RECIPE.gradient_clip or torch.inf)
            optimizer.step()
            yield

    def epoch() -> float:
        started = clock()
        taken = sum(1 for _ in steps())
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return BATCH * taken / (clock() - started)

    return epoch


def compare(loops: dict[str, Callable[[], float]], repeats: int) -> dict[str, tuple[list[float], list[float]]]:
    """Images per second of every repeat, and how many times that of each loop the first one does; after one warm-up."""
    rounds = [[loop() for loop in loops.values()] for _ in range(1 + repeats)][1:]
    return {
        name: ([speeds[place] for speeds in rounds], [speeds[0] / speeds[place] for speeds in rounds])
        for place, name in enumerate(loops)
    }


def main() -> None:
    """Print the comparison as a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depth", type=int, default=20, help="of the ResNet; 18 is ImageNet's (default: 20)")
    parser.add_argument("--steps", type=int, default=24, help="of an epoch (default: 24)")
    parser.add_argument("--repeats", type=int, default=7, help="timed epochs of each loop (default: 7)")
    parser.add_argument("--workers", type=int, default=2, help="of the DataLoader (default: 2)")
    parser.add_argument("--threads", type=int, default=2, help="that compute, in both loops (default: 2)")
    parser.add_argument("--device", default="cpu", help="where to train (default: cpu)")
    parser.add_argument("--processor-time", action="store_true", help="of one thread, and no workers")
    arguments = parser.parse_args()
    clock, workers = time.perf_counter, sorted({1, arguments.workers})
    torch.set_num_threads(arguments.threads)
    if arguments.processor_time:
        clock, workers = time.process_time, [0]
        torch.set_num_threads(1)
    device = torch.device(arguments.device)
    generator = torch.Generator().manual_seed(0)
    samples = BATCH * arguments.steps
    images = torch.randint(256, (samples, *SHAPE), generator=generator, dtype=torch.uint8)
    labels = torch.randint(CLASSES, (samples,), generator=generator)
    common = (images, labels, arguments.depth, device, clock)
    loops = {"suite": suite_loop(*common)}
    for count in workers:
        name = f"DataLoader, {count} workers"
        loops[name] = ordinary_loop(*common, count, torch.contiguous_format)
    loops[f"{name}, channels-last"] = ordinary_loop(*common, count, torch.channels_last)
    print("| loop | images/s | suite is faster by | from - to |\n|---|---|---|---|")
    for name, (speeds, ratios) in compare(loops, arguments.repeats).items():
        spread = f"{min(ratios):.2f} - {max(ratios):.2f}"
        print(f"| {name} | {statistics.median(speeds):.0f} | {statistics.median(ratios):.2f} | {spread} |")


if __name__ == "__main__":
    main()
