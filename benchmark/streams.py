"""Named random streams: all chance in a run derives from its seed, and each use draws from a stream of its own."""

import hashlib
from typing import Any

import torch
from torch import Tensor


def derived_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed for the stream `names` of the run `seed`; unrelated names give unrelated streams."""
    text = "/".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


class Streams:
    """The streams that advance during training: augmentation, and what a method samples itself.

    The order of the data is no stream but a function of seed and epoch, so that a run resumed inside an epoch finds its
    place without replaying anything.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self.seed = seed
        self.augmentation = torch.Generator(device).manual_seed(derived_seed(seed, "augmentation"))
        self.method = torch.Generator(device).manual_seed(derived_seed(seed, "method"))
        torch.manual_seed(derived_seed(seed, "layers"))  # the global stream, from which dropout draws

    def order(self, epoch: int, samples: int) -> Tensor:
        """The permutation in which an epoch visits the samples: int64 [samples], on the CPU."""
        generator = torch.Generator().manual_seed(derived_seed(self.seed, "order", epoch))
        return torch.randperm(samples, generator=generator)

    def state_dict(self) -> dict[str, Any]:
        """Where every stream stands."""
        state = {
            "augmentation": self.augmentation.get_state(),
            "method": self.method.get_state(),
            "layers": torch.get_rng_state(),
        }
        if self.augmentation.device.type == "cuda":
            state["layers_cuda"] = torch.cuda.get_rng_state(self.augmentation.device)
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put every stream back to where `state_dict` found it."""
        self.augmentation.set_state(state["augmentation"])
        self.method.set_state(state["method"])
        torch.set_rng_state(state["layers"])
        if "layers_cuda" in state:
            torch.cuda.set_rng_state(state["layers_cuda"], self.augmentation.device)
