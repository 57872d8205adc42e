"""One run shared by several processes, one a GPU, as `torchrun` starts them.

Each process takes its part of every batch, and gradients and statistics are averaged in one message a step. Order and
augmentation are those of a single process. Three things differ: sums are rounded in another order; batch normalisation
normalises each part by itself (its running statistics are averaged, so all processes hold the same model); and what
a method samples in training, each process draws for its own part.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed, nn

from benchmark.errors import UserError
from benchmark.training.gpus import visible_gpus

#: How long the others wait for one of them, which may have a whole validation split to go through.
TIMEOUT = timedelta(hours=2)


@dataclass(frozen=True)
class Team:
    """The processes that share a run; by default this one alone (`ALONE`).

    Attributes:
        rank: of this process; that of rank 0 leads.
        size: how many processes there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process is the one that validates, reports and writes."""
        return self.rank == 0

    def part(self, batch_size: int) -> slice:
        """The rows of a batch that are this process's; all processes have equally many, so that means can be averaged.

        Raises:
            UserError: the batch cannot be shared equally.
        """
        share, remainder = divmod(batch_size, self.size)
        if remainder:
            raise UserError(
                f"a batch of {batch_size} cannot be shared equally by {self.size} processes; "
                f"choose a multiple of {self.size} as the recipe's batch_size"
            )
        return slice(self.rank * share, (self.rank + 1) * share)

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Give every process the mean over processes of each tensor, in place; all of one dtype and device."""
        tensors = list(tensors)
        if self.size == 1 or not tensors:
            return
        message = torch.cat([tensor.reshape(-1) for tensor in tensors])
        distributed.all_reduce(message)
        message /= self.size
        for tensor, values in zip(tensors, message.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(values.view(tensor.shape))

    def synchronise(self, model: nn.Module, stop: bool) -> bool:
        """Average the gradients and running statistics of `model`; returns whether any process was asked to stop.

        A parameter has a gradient afterwards where it had one in any process, just as it would have from the whole
        batch: the optimiser passes over those without.
        """
        if self.size == 1:
            return stop
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        statistics = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
        flags = torch.tensor(
            [stop, *(parameter.grad is not None for parameter in parameters)],
            dtype=torch.float32, device=parameters[0].device,
        )  # fmt: skip
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        self.average([flags, *gradients, *statistics])
        stopping, *reached = (flags > 0).tolist()
        for parameter, gradient, anywhere in zip(parameters, gradients, reached, strict=True):
            parameter.grad = gradient if anywhere else None
        return stopping

    def wait(self) -> None:
        """Wait until all processes get here."""
        if self.size > 1:
            distributed.barrier()


ALONE = Team()


def rank() -> int:
    """This process's rank, as `torchrun` sets it; 0 for a process that was started alone."""
    return int(os.environ.get("RANK", 0))


def require_gpu_each(device: str) -> None:
    """Make sure that every process on this machine can have a GPU of its own, before any waits for one.

    Raises:
        UserError: `torchrun` started more processes than there are GPUs.
    """
    gpus = [] if device == "cpu" else visible_gpus()
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    if gpus and processes > len(gpus):
        raise UserError(
            f"torchrun started {processes} processes on a machine where {len(gpus)} GPUs are visible; "
            f"use --nproc-per-node {len(gpus)}, or --device cpu."
        )


@contextmanager
def joined(device: torch.device) -> Iterator[Team]:
    """Join the other processes that `torchrun` started, if there are any; leave them at the end."""
    size = int(os.environ.get("WORLD_SIZE", 1))
    if size == 1:
        yield ALONE
        return
    if device.type == "cuda":
        # A process sees the one GPU whose slot it holds.
        distributed.init_process_group("nccl", timeout=TIMEOUT, device_id=torch.device("cuda", 0))
    else:
        distributed.init_process_group("gloo", timeout=TIMEOUT)
    yield Team(rank(), size)
    distributed.destroy_process_group()  # not after an error: the others may be waiting for what will not come
