"""One training loop for every method.

It reads top to bottom: a batch, a forward pass, an optimiser step; what is logged is summed on the device and fetched
once an epoch. A run that is stopped or killed resumes from its checkpoint and ends with the same bytes (on the same
machine) as one that was never interrupted. Several processes may share a run: see `benchmark.training.distributed`;
a process alone is a team of one, which has nothing to average.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from benchmark.data import Dataset
from benchmark.errors import Interrupted, Preempted, UserError
from benchmark.experiment.configuration import Recipe, Run
from benchmark.training import checkpoint
from benchmark.training.batches import SettlingBatches, TrainingBatches, divided
from benchmark.training.building import build_model, build_optimizer
from benchmark.training.distributed import ALONE, Team
from benchmark.training.precision import autocast
from benchmark.training.progress import Clock, Progress
from benchmark.training.schedule import one_cycle, phase_at
from benchmark.training.stopping import StopRequest
from benchmark.training.streams import Streams
from benchmark.training.validation import NOT_VALIDATED, validate
from dynalay.classifier import AdaptiveClassifier, TrainingState
from dynalay.meter import Meter


class Diverged(UserError):
    """The loss, the weights or the outputs became NaN or infinite."""


def train(
    run: Run,
    dataset: Dataset,
    folder: Path,
    device: torch.device,
    stop: StopRequest,
    report: Callable[[str], None] = print,
    team: Team = ALONE,
) -> tuple[AdaptiveClassifier, Progress]:
    """Train a run to its end, from its checkpoint in `folder` if there is one.

    Args:
        run: what to train.
        dataset: the run's.
        folder: where the checkpoint is kept.
        device: where to compute.
        stop: asked after every step.
        report: receives one line an epoch.
        team: the processes that share the run.

    Returns:
        The trained model, in inference mode, and how training went.

    Raises:
        Preempted: `stop` was requested; the checkpoint holds everything up to the last step.
        Diverged: the loss, the weights or the outputs became NaN or infinite.
        UserError: the checkpoint belongs to other data, software or another kind of device, or the method refuses its
            parameters.
    """
    recipe = run.recipe
    streams = Streams(run.seed, device, team.rank)
    model = build_model(run, dataset, device).train()
    batches = TrainingBatches(dataset, recipe, streams, device, team, model.held_out)
    total = recipe.epochs * batches.steps
    optimizer = build_optimizer(model, recipe)
    component_macs = model.component_macs().to(device)

    path, identity = folder / "checkpoint.pt", _identity(run, dataset, device, team)
    progress = _resumed(_loaded(path, identity, team), model, optimizer, device)
    if progress.preemptions:
        report(f"resuming at step {progress.step} of {total}")
    # Sums are rounded otherwise with another number of threads, so a run ends with as many as it began with.
    if progress.threads != torch.get_num_threads():
        report(f"computing with {progress.threads} threads, as it began, not {torch.get_num_threads()}")
        torch.set_num_threads(progress.threads)
    clock = Clock(device)

    while progress.step < total:
        epoch = progress.step // batches.steps
        # The bar is for terminals only; a log gets the line at the end of each epoch.
        label = f"{run} epoch {epoch + 1}/{recipe.epochs}"
        left = batches.steps - progress.step % batches.steps
        hidden = None if team.leads else True
        for images, labels in tqdm(batches.rest_of_epoch(progress.step), label, left, leave=False, disable=hidden):
            phase, position = phase_at(model.phases, progress.step / total)
            set_learning_rate(optimizer, recipe.learning_rate * phase.peak * one_cycle(position, recipe.warmup))
            state = TrainingState(position, streams.method, phase.name)
            loss, values = forward(model, images, labels, state, recipe, component_macs)
            stopping = update(model, optimizer, loss, recipe.gradient_clip, team, stop.signal is not None)
            progress.add(values)
            if stopping:
                break

        team.average(progress.sums.values())
        if progress.step % batches.steps == 0:
            means = progress.means()
            require_finite("loss", means["loss"], run, epoch)
            # The last step's loss came before its update, so what that left is checked too.
            require_finite("largest weight", largest_weight(model), run, epoch)
            validation = validate(model, dataset, device) if team.leads else NOT_VALIDATED
            require_finite("largest output", validation.largest_output, run, epoch)
            clock.add_to(progress)
            progress.close_epoch(epoch, phase.name, means, batches.steps * batches.size, validation)
            report(
                f"epoch {epoch + 1}/{recipe.epochs}  loss {means['loss']:.4f}  "
                f"validation accuracy {100 * validation.accuracy:.2f}%  {validation.macs / 1e6:.2f} M MACs  "
                f"{progress.seconds:.0f} s"
            )
        clock.add_to(progress)
        if team.leads:
            _save(path, identity, model, optimizer, progress)
        if stopping and progress.step < total:
            raise _ending(stop)(f"{run}: stopped after step {progress.step} of {total}; run the same command to resume")

    model.eval()
    if team.leads:  # whose model is the one that is kept
        settle(model, run, dataset, streams, recipe, device, stop, progress)
        require_finite("largest weight", largest_weight(model), run, recipe.epochs - 1)
        clock.add_to(progress)
        progress.close_settling()
    return model, progress


def settle(
    model: AdaptiveClassifier,
    run: Run,
    dataset: Dataset,
    streams: Streams,
    recipe: Recipe,
    device: torch.device,
    stop: StopRequest,
    progress: Progress,
) -> None:
    """Let the method fit what it fits on the network as training left it, in the precision of evaluation.

    Interrupted, it starts again from the checkpoint of the last step, with the same batches and draws.

    Raises:
        Preempted: `stop` was requested, and the method still reads batches.
    """

    def go_on() -> None:
        if stop.signal is not None:
            raise _ending(stop)(f"{run}: stopped after the last training step; run the same command to resume")

    learnt, unseen = (
        SettlingBatches(dataset, rows, recipe, streams, device, go_on)
        for rows in divided(dataset, streams, model.held_out)
    )
    progress.macs += model.settle(learnt, unseen, streams.settling())


def forward(
    model: AdaptiveClassifier,
    images: Tensor,
    labels: Tensor,
    state: TrainingState,
    recipe: Recipe,
    component_macs: Tensor,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a batch, and what is logged of it: loss, mean MACs, and the method's own metrics, each a scalar."""
    meter = Meter(model.components(), len(images), images.device)
    with autocast(recipe, images.device):
        loss, metrics = model.training_loss(images, labels, meter, state)
    return loss, {"loss": loss.detach(), **metrics, "macs": meter.macs(component_macs).double().mean()}


def update(
    model: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor, clip: float | None, team: Team, stop: bool
) -> bool:
    """One optimiser step on `loss`; returns whether any process of the team is to stop."""
    optimizer.zero_grad()
    loss.backward()
    stopping = team.synchronise(model, stop)
    if clip is not None:
        nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimizer.step()
    return stopping


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of all parameters."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def largest_weight(model: nn.Module) -> float:
    """The largest absolute value of any parameter; NaN if one is NaN."""
    return torch.stack([parameter.detach().abs().max() for parameter in model.parameters()]).max().item()


def require_finite(name: str, value: float, run: Run, epoch: int) -> None:
    """Make sure that the `value` of what is called `name` is finite after an epoch.

    Raises:
        Diverged: it is not.
    """
    if not math.isfinite(value):
        recipe = run.recipe
        raise Diverged(
            f"the {name} of {run} is {value} in epoch {epoch + 1} of {recipe.epochs}; lower learning_rate "
            f"(now {recipe.learning_rate:g}) or gradient_clip (now {recipe.gradient_clip}), "
            f"or use precision float32 (now {recipe.precision})"
        )


def _ending(stop: StopRequest) -> type[Preempted]:
    return Interrupted if stop.signal == "SIGINT" else Preempted


def _identity(run: Run, dataset: Dataset, device: torch.device, team: Team) -> checkpoint.Identity:
    """All that a checkpoint must share with the run that resumes from it."""
    circumstances = {
        "data": dataset.fingerprint, "device": device.type, "processes": team.size, "torch": str(torch.__version__)
    }  # fmt: skip
    return checkpoint.Identity(run.resolved(), circumstances)


def _save(
    path: Path,
    identity: checkpoint.Identity,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
) -> None:
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "progress": vars(progress)}
    checkpoint.save(path, identity, state)


def _loaded(path: Path, identity: checkpoint.Identity, team: Team) -> dict[str, Any] | None:
    """The saved state, if any. The leader looks first, because it renames a checkpoint of another configuration."""
    saved = checkpoint.load(path, identity) if team.leads else None
    team.wait()
    return saved if team.leads else checkpoint.load(path, identity)


def _resumed(
    saved: dict[str, Any] | None, model: nn.Module, optimizer: torch.optim.Optimizer, device: torch.device
) -> Progress:
    """Put the model and the optimiser into the saved state, if there is one; returns the progress made."""
    if saved is None:
        return Progress(threads=torch.get_num_threads())
    model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    progress = Progress(**saved["progress"])
    progress.preemptions += 1
    progress.sums = {name: value.to(device) for name, value in progress.sums.items()}
    return progress
