"""Streaming: places that finished samples free are refilled, so that an adaptive network keeps its batches large.

Each batch of a stream is classified by the method's own code, in a thread of its own. Whenever that code runs a
component, it waits; when all wait, one component runs on the rows of every batch that waits for it. Samples that have
left the network take up no place, and as soon as there is room for the next batch of the stream, it enters.
"""

import queue
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from dynalay.classifier import AdaptiveClassifier, Images, OperatingPoint, Prediction
from dynalay.components import Component
from dynalay.meter import Meter


def stream(
    model: AdaptiveClassifier,
    batches: Iterable[Tensor],
    *,
    point: OperatingPoint | None = None,
    places: int = 256,
) -> Iterator[Prediction]:
    """The predictions for each batch of a stream, in the order of the stream.

    Answers and counts are those of `AdaptiveClassifier.predict`, up to the rounding of batches of another size. It
    helps where small batches are slow for their size: on a GPU, and on a CPU with small networks.

    Args:
        model: in evaluation mode, best from `for_inference`.
        batches: images, each float [batch, channels, height, width], normalised, on the device of the model. The
            smaller they are, the sooner freed places are refilled, and the more often the method's code runs.
        point: the operating point; None means the model's default.
        places: how many samples may be computed on when a batch enters, its own included; a larger one enters alone.

    Example:
        >>> import torch
        >>> from dynalay import DynaLay, stream
        >>> model = DynaLay((1, 8, 8), classes=10).eval()
        >>> images = torch.randn(64, 1, 8, 8)
        >>> sum(len(prediction.labels) for prediction in stream(model, images.split(16), places=32))
        64
    """
    if places < 1:
        raise ValueError(f"stream(places={places}): at least one sample must fit in")
    yield from _Stream(model, model.default_point if point is None else point, places).run(iter(batches))


class _Stopped(Exception):
    """The stream is no longer read, or another batch has failed."""


@dataclass(eq=False)
class _Group:
    """One batch on its way through the network.

    Attributes:
        images: [batch, channels, height, width].
        waits_for: the component that it waits for, and the inputs; None while its code runs.
        active: rows that it had when it last waited; 0 when it is done.
        results: hands what the component returned to the group's thread; None ends it.
        prediction: when it is done.
        error: what its code raised.
    """

    images: Images
    waits_for: tuple[str, tuple[Tensor, ...]] | None = None
    active: int = 0
    results: "queue.SimpleQueue[Any]" = field(default_factory=queue.SimpleQueue)
    prediction: Prediction | None = None
    error: BaseException | None = None


class _Waiting(nn.Module):
    """Stands for a component within one group: hands its inputs over and waits for the outputs."""

    def __init__(self, name: str, group: _Group, turns: "queue.SimpleQueue[_Group]") -> None:
        super().__init__()
        self.name, self.group, self.turns = name, group, turns

    def forward(self, *inputs: Tensor) -> Any:
        self.group.waits_for, self.group.active = (self.name, inputs), len(inputs[0])
        self.turns.put(self.group)
        result = self.group.results.get()
        if result is None:
            raise _Stopped
        return result


class _Stream:
    """The groups in flight and what runs next."""

    def __init__(self, model: AdaptiveClassifier, point: OperatingPoint, places: int) -> None:
        self.model, self.point, self.places = model, point, places
        self.components: Mapping[str, Component] = model.inference_components()
        self.flight: deque[_Group] = deque()  # in the order of the stream, done or not
        self.turns: queue.SimpleQueue[_Group] = queue.SimpleQueue()  # whoever has just stopped running

    @torch.inference_mode()
    def run(self, batches: Iterator[Tensor]) -> Iterator[Prediction]:
        """Classify; one thread runs at a time, so what runs with what depends on the stream alone."""
        upcoming = next(batches, None)
        try:
            while self.flight or upcoming is not None:
                if upcoming is not None and self._fits(upcoming):
                    self._enter(_Group(upcoming))
                    upcoming = next(batches, None)
                elif self.flight[0].prediction is not None:
                    yield self.flight.popleft().prediction  # type: ignore[misc]
                else:
                    self._run_next()
        finally:
            for group in self.flight:
                if group.prediction is None:
                    group.results.put(None)

    def _fits(self, images: Tensor) -> bool:
        present = sum(group.active for group in self.flight)
        return present == 0 or present + len(images) <= self.places

    def _enter(self, group: _Group) -> None:
        self.flight.append(group)
        threading.Thread(target=self._classify, args=(group,), daemon=True).start()
        self._wait()

    def _run_next(self) -> None:
        """Run the component that most rows wait for, on all of them."""
        rows: dict[str, int] = {}
        for group in self.flight:
            if group.waits_for is not None:
                rows[group.waits_for[0]] = rows.get(group.waits_for[0], 0) + group.active
        name = max(rows, key=lambda each: rows[each])
        members = [group for group in self.flight if group.waits_for is not None and group.waits_for[0] == name]
        inputs = [group.waits_for[1] for group in members if group.waits_for is not None]
        joined = inputs[0] if len(inputs) == 1 else tuple(torch.cat(parts) for parts in zip(*inputs, strict=True))
        output = self.components[name].module(*joined)
        for group, part in zip(members, _split(output, [group.active for group in members]), strict=True):
            group.waits_for = None
            group.results.put(part)
            self._wait()

    def _wait(self) -> None:
        """Until the one thread that runs waits for a component, or is done."""
        error = self.turns.get().error
        if error is not None:
            raise error

    def _classify(self, group: _Group) -> None:
        """In a thread of its own: the method's code, on components that wait."""
        try:
            with torch.inference_mode():
                waiting = {
                    name: Component(_Waiting(name, group, self.turns), component.input_shapes)
                    for name, component in self.components.items()
                }
                meter = Meter(waiting, len(group.images), group.images.device, strict=False)
                logits = self.model.classify(group.images, self.point, meter)
                group.prediction = self.model.prediction(logits, meter)
        except _Stopped:
            return
        except BaseException as error:  # raised again where the stream is read
            group.error = error
        group.active, group.waits_for = 0, None
        self.turns.put(group)


def _split(output: Any, sizes: list[int]) -> list[Any]:
    """A component's output, a tensor or a tuple of them, for each of the groups it was joined from."""
    if len(sizes) == 1:
        return [output]
    if isinstance(output, Tensor):
        return list(output.split(sizes))
    return list(zip(*(part.split(sizes) for part in output), strict=True))
