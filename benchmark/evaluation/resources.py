"""Processor time and peak memory of a training step and of a forward pass, beside those of another model."""

import statistics
import time
from collections.abc import Callable

import pandas as pd
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from benchmark.experiment.configuration import Recipe
from benchmark.training.loop import forward
from dynalay.classifier import AdaptiveClassifier, TrainingState


def measure(
    model: AdaptiveClassifier,
    reference: AdaptiveClassifier,
    images: Tensor,
    labels: Tensor,
    recipe: Recipe,
    repeats: int,
) -> pd.DataFrame:
    """Measure both models on the same batch, in turns, so that other load on the machine slows both alike.

    A training step is the loss and its gradients, in the last phase of training; the optimiser's own step, which does
    not depend on the method, is left out. Inference is one batch at the default operating point.

    Args:
        model: what is measured; its gradients and running statistics are overwritten.
        reference: what it is compared with; likewise.
        images: a batch, normalised, float [batch, channels, height, width], on the device of both models.
        labels: int64 [batch].
        recipe: whose precision training has.
        repeats: timed turns, after one to warm up.

    Returns:
        A row for "training" and one for "inference" (column `work`), with

        - milliseconds, reference_milliseconds: of a batch, medians; processor time of all threads on a CPU, wall time
          on a GPU;
        - time_ratio: the median over turns of the model's time by the reference's, with lower_quartile and
          upper_quartile;
        - peak_memory_mib, reference_peak_memory_mib: the most that was allocated at once beyond what was before, and
          memory_ratio;
        - batch_size, repeats, threads.
    """
    works = {
        "training": (_training(model, images, labels, recipe), _training(reference, images, labels, recipe)),
        "inference": (_inference(model, images), _inference(reference, images)),
    }
    rows = [
        {"work": work, **_compared(ours, theirs, images.device, repeats), "batch_size": len(images)}
        for work, (ours, theirs) in works.items()
    ]
    return pd.DataFrame(rows)


def _compared(
    ours: Callable[[], None], theirs: Callable[[], None], device: torch.device, repeats: int
) -> dict[str, float]:
    peaks = [_peak_memory(call, device) / 2**20 for call in (ours, theirs)]
    turns = [(_seconds(ours, device), _seconds(theirs, device)) for _ in range(1 + repeats)][1:]
    ratios = [mine / other for mine, other in turns]
    lower, _, upper = statistics.quantiles(ratios, n=4, method="inclusive") if repeats > 1 else ratios * 3
    return {
        "milliseconds": 1e3 * statistics.median(mine for mine, _ in turns),
        "reference_milliseconds": 1e3 * statistics.median(other for _, other in turns),
        "time_ratio": statistics.median(ratios),
        "lower_quartile": lower,
        "upper_quartile": upper,
        "peak_memory_mib": peaks[0],
        "reference_peak_memory_mib": peaks[1],
        "memory_ratio": peaks[0] / peaks[1],
        "repeats": repeats,
        "threads": torch.get_num_threads(),
    }


def _training(model: AdaptiveClassifier, images: Tensor, labels: Tensor, recipe: Recipe) -> Callable[[], None]:
    generator = torch.Generator(images.device)
    macs = model.component_macs().to(images.device)

    def step() -> None:
        model.train()
        model.zero_grad()
        # The end of the last phase, when nothing is warming up any more.
        state = TrainingState(0.999, generator.manual_seed(0), model.phases[-1].name)
        loss, _ = forward(model, images, labels, state, recipe, macs)
        loss.backward()

    return step


def _inference(model: AdaptiveClassifier, images: Tensor) -> Callable[[], None]:
    def answer() -> None:
        model.eval()
        with torch.inference_mode():
            model(images)

    return answer


def _seconds(call: Callable[[], None], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        started = time.perf_counter()
        call()
        torch.cuda.synchronize(device)
        return time.perf_counter() - started
    started = time.process_time()
    call()
    return time.process_time() - started


def _peak_memory(call: Callable[[], None], device: torch.device) -> int:
    """Bytes that torch had allocated at most during the second of two calls, beyond those from before it."""
    call()  # what is allocated once, such as gradients and caches, is there afterwards
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        return torch.cuda.max_memory_allocated(device) - before
    # The resident size of the process would not do: what the allocator keeps for later is in it.
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        call()
    held = peak = 0
    for event in recorded.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak
