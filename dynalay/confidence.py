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
    return torch.cat(_sureness(logits.float().softmax(dim=1)), dim=1)


def answer_features(logits: Float[Tensor, "rows classes"]) -> Float[Tensor, "rows features"]:
    """`sureness`, probabilities, logits / 4: [rows, 3 + 2 classes]."""
    probabilities = logits.float().softmax(dim=1)
    return torch.cat([*_sureness(probabilities), probabilities, logits / 4], dim=1)


def compared_answers(
    newest: Float[Tensor, "rows classes"],
    before: Float[Tensor, "rows classes"],
    of_bare: Float[Tensor, "rows features"],
) -> Float[Tensor, "rows numbers"]:
    """What an agent sees of its answers: [rows, numbers].

    Args:
        newest: logits [rows, classes].
        before: those of the answer before it, [rows, classes].
        of_bare: `answer_features` of the bare pass's answer, [rows, features].

    Returns:
        `answer_features` of the newest; `of_bare`; how the newest differs from the one before: logits / 4, and whether
        the label flipped.
    """
    flipped = newest.argmax(dim=1) != before.argmax(dim=1)
    return torch.cat([answer_features(newest), of_bare, (newest - before) / 4, flipped[:, None].float()], dim=1)


def _sureness(probabilities: Float[Tensor, "rows classes"]) -> tuple[Tensor, Tensor, Tensor]:
    """Highest probability, entropy, and margin of the two highest, each [rows, 1]."""
    first, second = probabilities.topk(2, dim=1).values.split(1, dim=1)
    return first, _entropy(probabilities, keepdim=True), first - second


def _entropy(probabilities: Float[Tensor, "*batch classes"], keepdim: bool = False) -> Float[Tensor, "..."]:
    return torch.special.entr(probabilities).sum(dim=-1, keepdim=keepdim) / math.log(probabilities.shape[-1])
