"""How a network whose paths share weights learns all of them: the sandwich rule, with in-place distillation.

Yu & Huang, "Universally Slimmable Networks and Improved Training Techniques", ICCV 2019, arXiv 1903.05134. The weights
and the paths are ours.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from dynalay.classifier import Logits

#: Weights of the bare pass and of the paths in between in the loss; the full path has weight 1.
BARE_WEIGHT, BETWEEN_WEIGHT = 0.5, 1.0
#: The full path's answers, softened by this temperature, are this share of what the other paths learn.
TEMPERATURE, DISTILLED = 2.0, 0.5


def random_paths(
    count: int, layers: int, evaluations: int, generator: torch.Generator
) -> Int64[Tensor, "count layers"]:
    """Paths for training: int64 [count, layers].

    Each has a probability of its own. A layer is evaluated until a draw says otherwise, and one layer at least.
    """
    device = generator.device
    found = torch.zeros(count, layers, dtype=torch.int64, device=device)
    while len(empty := (~found.any(dim=1)).nonzero().squeeze(1)):
        probability = torch.rand(len(empty), 1, 1, generator=generator, device=device)
        drawn = torch.rand(len(empty), layers, evaluations, generator=generator, device=device) < probability
        found[empty] = drawn.long().cumprod(dim=2).sum(dim=2)
    return found


def sandwich_loss(
    full: Logits, bare: Logits, between: Sequence[Logits], labels: Int64[Tensor, "batch"]
) -> Float[Tensor, ""]:
    """The loss of `DynaLay.training_loss`, which gives its formula.

    Args:
        full: logits of the full path, [batch, classes], which teach the others and are not taught by them.
        bare: of the bare pass, likewise.
        between: of paths in between, likewise; they count by their mean.
        labels: int64 [batch].
    """
    softened = (full.detach() / TEMPERATURE).softmax(dim=1)

    def taught(logits: Logits) -> Float[Tensor, ""]:
        logits = logits.float()
        divergence = functional.kl_div((logits / TEMPERATURE).log_softmax(dim=1), softened, reduction="batchmean")
        return (1 - DISTILLED) * functional.cross_entropy(logits, labels) + DISTILLED * TEMPERATURE**2 / 2 * divergence

    loss = functional.cross_entropy(full, labels) + BARE_WEIGHT * taught(bare)
    if between:
        loss = loss + BETWEEN_WEIGHT * torch.stack([taught(logits) for logits in between]).mean()
    return loss / (1 + BARE_WEIGHT + BETWEEN_WEIGHT * bool(between))
