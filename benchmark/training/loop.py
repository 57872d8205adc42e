"""One training loop for every method.

Reads top to bottom: batches from uint8 data on the device, one loss, one optimiser step; what is logged is summed on
the device and fetched once an epoch.  A run that is stopped, or killed, goes on from its checkpoint and ends with the
same bytes (on the same machine) as one that was never disturbed.  Several processes may share a run: see
`benchmark.training.distributed`; a process alone is a team of one, which has nothing to average.
"""

import math
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from baselines import find_method
from benchmark.data import Dataset, Facts, Split
from benchmark.errors import Preempted, UserError
from benchmark.experiment.configuration import Recipe, Run
from benchmark.training import checkpoint
from benchmark.training.augmentation import Augmentation, normalise
from benchmark.training.distributed import ALONE, Team
from benchmark.training.energy import EnergyMeter
from benchmark.training.stopping import StopRequest
from benchmark.training.streams import Streams, derived_seed
from dynalay.classifier import AdaptiveClassifier, Phase, TrainingState
from dynalay.meter import Meter

#: Evaluation has no gradients to keep, so its batches can be larger than training's.
EVALUATION_BATCH = 500


class Diverged(UserError):
    """The loss became NaN or infinite."""


@dataclass
class Progress:
    """Where a run stands; all of it goes into the checkpoint.

    Attributes:
        step: optimiser steps taken.
        history: one row an epoch.
        sums: of what is logged, by name: the sum over the current epoch's steps and their number, float64 [2].
        macs: forward MACs of training so far, as metered.
        seconds: wall time spent training, over all attempts.
        joules: energy used meanwhile by the devices that tell, over all attempts: of "cpu" and "gpu".
        preemptions: how often the run went on from a checkpoint.
    """

    step: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    sums: dict[str, Tensor] = field(default_factory=dict)
    macs: int = 0
    seconds: float = 0.0
    joules: dict[str, float] = field(default_factory=dict)
    preemptions: int = 0


def build_model(run: Run, dataset: Dataset | Facts, device: torch.device) -> AdaptiveClassifier:
    """The run's model with the initial weights that its seed gives, in channels-last layout on `device`.

    Raises:
        UserError: the parameters do not go together, as the method says.
    """
    method = find_method(run.method_kind)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(run.seed, "initialisation"))
        try:
            model = method(dataset.image_shape, len(dataset.classes), **run.method_parameters)
        except ValueError as error:
            raise UserError(f"{run.method} ({run.method_kind}) on {run.dataset}: {error}") from None
    return model.to(device).to(memory_format=torch.channels_last)


def batches(
    split: Split, dataset: Dataset, device: torch.device, size: int = EVALUATION_BATCH
) -> Iterator[tuple[Tensor, Tensor]]:
    """The split in order, as normalised float images and labels on `device`."""
    for start in range(0, len(split.labels), size):
        images = split.images[start : start + size].to(device)
        yield _prepared(normalise(images, dataset.mean, dataset.std)), split.labels[start : start + size].to(device)


def _prepared(images: Tensor) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last)


def train(
    run: Run,
    dataset: Dataset,
    folder: Path,
    device: torch.device,
    stop: StopRequest,
    report: Callable[[str], None] = print,
    team: Team = ALONE,
) -> tuple[AdaptiveClassifier, Progress]:
    """Train a run to its end, from its checkpoint in `folder` where there is one.

    Raises:
        Preempted: `stop` was asked for; the checkpoint holds everything up to the last step.
        Diverged: the loss is no number.
        UserError: the checkpoint is of another run, or the parameters do not go together.
    """
    recipe = run.recipe
    samples = len(dataset.train.labels)
    batch_size = min(recipe.batch_size, samples)
    part = team.part(batch_size)
    steps = samples // batch_size  # an epoch's; the permutation's remainder waits for another epoch
    total = recipe.epochs * steps

    model = build_model(run, dataset, device)
    model.train()
    optimizer = build_optimizer(model, recipe)
    streams = Streams(run.seed, device, team.rank)
    progress = Progress()
    path = folder / "checkpoint.pt"
    identity = {
        **run.resolved(), "data": dataset.fingerprint, "device": device.type, "processes": team.size,
        "torch": str(torch.__version__),
    }  # fmt: skip
    saved = checkpoint.load(path, identity)
    if saved is not None:
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        progress = Progress(**saved["progress"])
        progress.preemptions += 1
        progress.sums = {name: value.to(device) for name, value in progress.sums.items()}
        report(f"going on from step {progress.step} of {total}")

    started = time.perf_counter()
    energy = EnergyMeter(device)

    def save() -> None:
        if team.leads:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "progress": vars(progress)}
            checkpoint.save(path, identity, state)

    def clock() -> None:
        nonlocal started
        now = time.perf_counter()
        progress.seconds, started = progress.seconds + now - started, now
        for name, joules in energy.joules().items():
            progress.joules[name] = progress.joules.get(name, 0.0) + joules

    images, labels = _resident(dataset.train, device)
    augment = Augmentation(**recipe.augmentation.model_dump())
    components = model.components()
    component_macs = model.component_macs().to(device)

    while progress.step < total:
        epoch, first = divmod(progress.step, steps)
        order = streams.order(epoch, samples)
        # The bar is for terminals only; a log gets the line at the end of each epoch.
        label = f"{run} epoch {epoch + 1}/{recipe.epochs}"
        for index in tqdm(range(first, steps), label, leave=False, disable=None if team.leads else True):
            streams.seek(progress.step)
            rows = order[index * batch_size : (index + 1) * batch_size][part].to(images.device)
            targets = labels[rows].to(device)
            # Augmentation is drawn for the whole batch, so that it does not depend on who computes which part of it.
            batch = images.new_zeros((batch_size, *dataset.image_shape), device=device)
            batch[part] = images[rows].to(device)
            batch = augment(batch, streams.augmentation)[part]
            batch = _prepared(normalise(batch, dataset.mean, dataset.std))
            meter = Meter(components, len(batch), device)
            phase, position = phase_at(model.phases, progress.step / total)
            state = TrainingState(position, streams.method, phase.name)
            with autocast(recipe, device):
                loss, metrics = model.training_loss(batch, targets, meter, state)
            optimizer.zero_grad()
            loss.backward()
            stopping = team.synchronise(model, stop.signal is not None)
            if recipe.gradient_clip is not None:
                nn.utils.clip_grad_norm_(model.parameters(), recipe.gradient_clip)
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate * phase.peak * one_cycle(position, recipe.warmup)
            optimizer.step()
            progress.step += 1
            _add(progress.sums, {"loss": loss.detach(), **metrics, "macs": meter.macs(component_macs).double().mean()})
            if stopping and index + 1 < steps:
                break

        team.average(progress.sums.values())
        if progress.step % steps == 0:
            row = {name: (value[0] / value[1]).item() for name, value in progress.sums.items()}
            if not math.isfinite(row["loss"]):
                raise Diverged(
                    f"the loss of {run} is {row['loss']} in epoch {epoch + 1} of {recipe.epochs}; lower learning_rate "
                    f"(now {recipe.learning_rate:g}) or gradient_clip (now {recipe.gradient_clip}), "
                    f"or use precision float32 (now {recipe.precision})"
                )
            progress.macs += round(row.pop("macs") * steps * batch_size)
            progress.sums = {}
            accuracy, macs = validate(model, dataset, device) if team.leads else (math.nan, math.nan)
            clock()
            progress.history.append(
                {"epoch": epoch + 1, "step": progress.step, "phase": phase.name, **row, "validation_accuracy": accuracy,
                 "validation_macs": macs, "training_macs": progress.macs, "seconds": progress.seconds}
            )  # fmt: skip
            report(
                f"epoch {epoch + 1}/{recipe.epochs}  loss {row['loss']:.4f}  validation accuracy {100 * accuracy:.2f}%"
                f"  {macs / 1e6:.2f} M MACs  {progress.seconds:.0f} s"
            )
        if progress.step < total:
            clock()
            save()
            if stopping:
                raise Preempted(f"{run}: stopped after step {progress.step} of {total}; run the same command to go on")
    model.eval()
    return model, progress


def build_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimiser; weight decay for matrices and kernels only, as biases and norm gains need none."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=0.9, nesterov=True, fused=True)
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=True)


def one_cycle(progress: float, warmup: float) -> float:
    """Share of the peak learning rate: linear to 1 over `warmup`, then a half cosine to 0 (Smith & Topin 2018)."""
    if progress < warmup:
        return (progress + 1e-3) / (warmup + 1e-3)
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))


def phase_at(phases: tuple[Phase, ...], progress: float) -> tuple[Phase, float]:
    """The phase in which the share `progress` of all steps is taken, and the share of that phase's own steps."""
    number = max(index for index, phase in enumerate(phases) if phase.start <= progress)
    end = phases[number + 1].start if number + 1 < len(phases) else 1.0
    return phases[number], (progress - phases[number].start) / (end - phases[number].start)


def autocast(recipe: Recipe, device: torch.device) -> Any:
    """The recipe's precision.  Without autocast's cache: a cast kept from under `no_grad` would train nothing."""
    if recipe.precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)


def warn_of_emulation(precisions: Collection[str], device: torch.device) -> None:
    """Say so when one of the recipes' `precisions` is one for which the processor has no instructions."""
    if "bfloat16" not in precisions or device.type != "cpu":
        return
    capabilities = torch.cpu.get_capabilities()
    if not any(capabilities.get(name) for name in ("amx_bf16", "avx512_bf16", "bf16")):
        print(
            "warning: this processor has no bfloat16 instructions, and emulating them takes several times as long as "
            "float32 does; precision: float32 in the recipe avoids it, and makes all its runs anew",
            file=sys.stderr,
        )


@torch.inference_mode()
def validate(model: AdaptiveClassifier, dataset: Dataset, device: torch.device) -> tuple[float, float]:
    """Accuracy and mean MACs on the validation split at the model's default point."""
    model.eval()
    correct, macs = torch.zeros((), device=device), torch.zeros((), dtype=torch.int64, device=device)
    component_macs = model.component_macs().to(device)
    for images, labels in batches(dataset.validation, dataset, device):
        meter = Meter(model.components(), len(labels), device)
        correct += (model.classify(images, model.default_point, meter).argmax(dim=1) == labels).sum()
        macs += meter.macs(component_macs).sum()
    model.train()
    samples = len(dataset.validation.labels)
    return correct.item() / samples, macs.item() / samples


def _resident(split: Split, device: torch.device) -> tuple[Tensor, Tensor]:
    """The training data, from which batches are drawn: on a GPU if it fills at most a quarter of it, else mapped."""
    if device.type == "cuda" and split.images.numel() <= torch.cuda.get_device_properties(device).total_memory // 4:
        return split.images.to(device), split.labels.to(device)
    return split.images, split.labels


def _add(sums: dict[str, Tensor], values: dict[str, Tensor]) -> None:
    """Add each value and a count of one, since a metric may belong to some of an epoch's steps only."""
    for name, value in values.items():
        entry = torch.stack([value.double(), torch.ones_like(value, dtype=torch.float64)])
        sums[name] = sums[name] + entry if name in sums else entry
