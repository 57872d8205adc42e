"""Named random streams: all randomness in a run derives from its seed, and each use has a stream of its own.

No stream has a state that must be saved. Each one is seeded again at every optimiser step, by the run's seed, the
stream's name and the step, so a resumed run draws what it would have drawn without the interruption.
"""

import hashlib

import torch
from torch import Tensor


def derived_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed for the stream `names` of the run `seed`; unrelated names give unrelated streams."""
    text = "/".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


class Streams:
    """The streams of training.

    Args:
        seed: the run's.
        device: where augmentation and the method draw.
        rank: of this process among those that share the run.

    Attributes:
        augmentation: the same in all processes that share a run; they draw it for the whole batch.
        method: what the method samples itself; each process draws its own.
    """

    def __init__(self, seed: int, device: torch.device, rank: int = 0) -> None:
        self.seed = seed
        self.augmentation = torch.Generator(device)
        self.method = torch.Generator(device)
        self._process = (rank,) if rank else ()

    def seek(self, step: int) -> None:
        """Move every stream to the beginning of the optimiser step `step`, the global one (dropout's) too."""
        self.augmentation.manual_seed(derived_seed(self.seed, "augmentation", step))
        self.method.manual_seed(derived_seed(self.seed, "method", step, *self._process))
        layers = derived_seed(self.seed, "layers", step, *self._process)
        torch.default_generator.manual_seed(layers)  # `torch.manual_seed` would take a hundred times as long
        if self.method.device.type == "cuda":
            torch.cuda.manual_seed(layers)

    def order(self, epoch: int, samples: int) -> Tensor:
        """The permutation in which an epoch visits the samples: int64 [samples], on the CPU."""
        generator = torch.Generator().manual_seed(derived_seed(self.seed, "order", epoch))
        return torch.randperm(samples, generator=generator)

    def settling(self) -> torch.Generator:
        """What a method draws while it settles, after the last step; on the device."""
        return torch.Generator(self.method.device).manual_seed(derived_seed(self.seed, "settling"))

    def held_out(self, samples: int) -> Tensor:
        """The permutation whose first samples are held out: int64 [samples], on the CPU."""
        generator = torch.Generator().manual_seed(derived_seed(self.seed, "held out"))
        return torch.randperm(samples, generator=generator)

    def settling_order(self, samples: int, reading: int) -> Tensor:
        """The permutation in which it reads the samples: int64 [samples], on the CPU; augmentation goes along."""
        generator = torch.Generator().manual_seed(derived_seed(self.seed, "settling", "order", reading))
        self.augmentation.manual_seed(derived_seed(self.seed, "settling", "augmentation", reading))
        return torch.randperm(samples, generator=generator)
