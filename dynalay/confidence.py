"""How sure an answer is: the numbers that agents look at, and that rules in their place compare with thresholds."""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def entropy(logits: Float[Tensor, "*batch classes"]) -> Float[Tensor, "*batch"]:
    """The answer's entropy as a share of the entropy of chance, [...] from logits [..., classes]."""
    return _entropy(logits.float().softmax(dim=-1))


def max_probability(logits: Float[Tensor, "*batch classes"]) -> Float[Tensor, "*batch"]:
    """The answer's highest probability, [...] from logits [..., classes]."""
    return logits.float().softmax(dim=-1).amax(dim=-1)


def sureness(logits: Float[Tensor, "rows classes"]) -> Float[Tensor, "rows 3"]:
    """Highest probability, `entropy`, and margin of the two highest: [rows, 3], from logits [rows, classes]."""
    return torch.stack(_sureness(logits.float().softmax(dim=1)), dim=1)


def answer_features(logits: Float[Tensor, "rows classes"]) -> Float[Tensor, "rows features"]:
    """`sureness`, probabilities, logits / 4: [rows, 3 + 2 classes]."""
    probabilities = logits.float().softmax(dim=1)
    return torch.cat([*(each[:, None] for each in _sureness(probabilities)), probabilities, logits / 4], dim=1)


def _sureness(probabilities: Float[Tensor, "rows classes"]) -> tuple[Tensor, Tensor, Tensor]:
    """Highest probability, entropy, and margin of the two highest, each [rows]."""
    first, second = probabilities.topk(2, dim=1).values.unbind(dim=1)
    return first, _entropy(probabilities), first - second


def _entropy(probabilities: Float[Tensor, "*batch classes"]) -> Float[Tensor, "*batch"]:
    return -torch.xlogy(probabilities, probabilities).sum(dim=-1) / math.log(probabilities.shape[-1])
