"""One CUDA graph in place of a small module's many launches.

A component of a small network is dozens of kernels that take microseconds each, less than Python takes to launch them.
A CUDA graph launches all of them at once. It holds for one shape of the inputs, so it suits batches of one, and the
part of a pass in which all samples of a batch are still active.
"""

import warnings
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

Key = tuple[tuple[torch.Size, tuple[int, ...], torch.dtype], ...]


class Graphed(nn.Module):
    """A module that runs as a CUDA graph where its inputs have certain numbers of rows, and as it is elsewhere.

    The graph is captured at the first such call. A module that cannot be captured, because what it launches depends on
    its data, runs as it is.

    Args:
        module: on a GPU, in evaluation mode; its weights may change in place, but not move.
        rows: the numbers of rows for which a graph is worth its memory.
    """

    def __init__(self, module: nn.Module, rows: Iterable[int]) -> None:
        super().__init__()
        self.module = module
        self.rows = frozenset(rows)
        self._replays: dict[Key, Callable[..., Any] | None] = {}

    def forward(self, *inputs: Tensor) -> Any:
        """What `module` returns, in memory of its own."""
        if inputs[0].size(0) not in self.rows:
            return self.module(*inputs)
        key = tuple((tensor.shape, tensor.stride(), tensor.dtype) for tensor in inputs)
        if key not in self._replays:
            self._replays[key] = captured(self.module, inputs)
        replay = self._replays[key]
        return self.module(*inputs) if replay is None else replay(*inputs)


def captured(module: nn.Module, inputs: tuple[Tensor, ...]) -> Callable[..., Any] | None:
    """`module` as a graph for inputs like these; None where it waits for the GPU, which no graph can.

    Args:
        module: as of `Graphed`; returns a tensor or a tuple of tensors.
        inputs: on the GPU; they are not changed.
    """
    places = [tensor.clone() for tensor in inputs]
    if not _runs_without_waiting(module, places):
        return None
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = module(*places)

    def replay(*inputs: Tensor) -> Any:
        for place, tensor in zip(places, inputs, strict=True):
            place.copy_(tensor)
        graph.replay()
        # The next replay writes to the same memory, while earlier states may still be in use.
        return outputs.clone() if isinstance(outputs, Tensor) else tuple(output.clone() for output in outputs)

    return replay


def _runs_without_waiting(module: nn.Module, inputs: list[Tensor]) -> bool:
    """Whether a module never waits for the GPU; on a stream beside the current one, as before a capture.

    It is run a few times, in which libraries set themselves up and choose their kernels. To find out by capturing would
    not do: a capture that fails leaves the random generators of the GPU unusable.
    """
    before = torch.cuda.get_sync_debug_mode()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    try:
        with torch.cuda.stream(side):
            module(*inputs)
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Synchronization debug mode is a prototype")
                torch.cuda.set_sync_debug_mode("error")
            for _ in range(2):
                module(*inputs)
    except RuntimeError:
        return False
    finally:
        torch.cuda.set_sync_debug_mode(before)
        torch.cuda.current_stream().wait_stream(side)
    return True
