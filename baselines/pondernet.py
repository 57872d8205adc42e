"""PonderNet: halting is a probability, and training minimises the expected loss under it.

Banino, Balaguer & Blundell, "PonderNet: Learning to Ponder", ICML AutoML workshop 2021, arXiv 2107.05407.

- After step n a halting unit gives lambda_n, the probability of halting there if it did not before. So
  ``p_n = lambda_n prod_{j < n} (1 - lambda_j)``, and the last of N steps takes what is left (section 2.1).
- Loss (eq. 3 and 4): ``sum_n p_n CE_n + beta KL(p || geometric(lambda_p))``, the prior cut off at N and normalised.
- Defaults: beta = 0.01, the paper's. The prior's lambda_p is ours, as it has to suit N.

Departures. At inference the paper samples from p. Here a sample halts at the first step at which the probability of
having halted by then reaches the operating point's knob: a quantile of p, the same in every batch, and a whole curve
from one training (0.5 is the median). The step function is a cell of the suite on image features; the paper's are small
networks for its own tasks.
"""

from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional

from baselines.exits import State
from baselines.stepping import SteppingNetwork
from dynalay.classifier import OperatingPoint, TrainingState
from dynalay.components import Component
from dynalay.meter import Meter
from dynalay.parts import pooled_linear


class PonderNet(SteppingNetwork):
    """A recurrent network that learns a distribution of the number of its steps.

    An operating point's knob is the probability of having halted at which a sample halts.

    Args:
        image_shape: (channels, height, width) of the normalised input.
        classes: the number of classes.
        channels: of each layer; the last one's cell takes the steps.
        strides: of each layer's transition.
        cell: what takes the steps; see `dynalay.cells`.
        pool: how the head and the halting unit pool.
        steps: N, how many steps there may be.
        prior: lambda_p, the prior's probability of halting at each step.
        beta: weight of the divergence from the prior.
        points: how many thresholds each sweep has.
    """

    search_space: ClassVar = {"prior": (0.1, 0.5, "linear"), "beta": (0.01, 1.0, "log")}

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        classes: int,
        *,
        channels: tuple[int, ...] = (16, 32, 64),
        strides: tuple[int, ...] = (1, 2, 2),
        cell: Literal["standardised", "residual"] = "standardised",
        pool: Literal["average", "maximum"] = "average",
        steps: int = 8,
        prior: float = 0.3,
        beta: float = 0.01,
        points: int = 10,
    ) -> None:
        super().__init__(image_shape, classes, channels, strides, cell, pool, steps, points)
        self.beta = beta
        self.halting = pooled_linear(channels[-1], 1, pool)
        places = torch.arange(steps)
        self.log_prior: Tensor
        geometric = (1 - prior) ** places * prior
        self.register_buffer("log_prior", (geometric / geometric.sum()).log(), persistent=False)

    def components(self) -> dict[str, Component]:
        return super().components() | {"halting": Component(self.halting, (self.state_shape,))}

    @property
    def default_point(self) -> OperatingPoint:
        """Nearly all of each sample's distribution; steps that no sample has reason to take are not trained."""
        return OperatingPoint(0.95)

    def start(self, u: Tensor) -> State:
        """The cell's state, and the logarithm of the probability of not having halted yet."""
        return torch.zeros_like(u), torch.zeros(len(u), device=u.device)

    def step(self, state: State, u: Tensor, rows: Tensor, meter: Meter) -> tuple[State, Tensor]:
        z = meter("cell", state[0], u, rows=rows)
        logit = meter("halting", z, rows=rows).squeeze(1).float()
        going_on = state[1] + functional.logsigmoid(-logit)  # log prod (1 - lambda)
        return (z, going_on), -torch.expm1(going_on)

    def training_loss(
        self, images: Tensor, labels: Tensor, meter: Meter, state: TrainingState
    ) -> tuple[Tensor, dict[str, Tensor]]:
        states, _ = self.all_steps(images, meter)
        log_p = halting_distribution(torch.stack([after[1] for after in states]))
        losses = torch.stack(
            [functional.cross_entropy(meter("head", after[0]).float(), labels, reduction="none") for after in states]
        )
        p = log_p.exp()
        expected = (p * losses).sum(dim=0).mean()
        divergence = (p * (log_p - self.log_prior[:, None])).sum(dim=0).mean()
        places = torch.arange(1, self.steps + 1, device=p.device)
        logs = {
            "classification_loss": expected.detach(),
            "divergence": divergence.detach(),
            "expected_steps": (p.detach() * places[:, None]).sum(dim=0).mean(),
        }
        return expected + self.beta * divergence, logs


def halting_distribution(going_on: Tensor) -> Tensor:
    """Log p_n, float [steps, batch]: the last step takes whatever is left.

    Args:
        going_on: log prod_{j <= n} (1 - lambda_j), the probability of not having halted after step n, [steps, batch].
    """
    before = torch.cat([torch.zeros_like(going_on[:1]), going_on[:-1]])
    halting = torch.log(-torch.expm1(going_on - before).clamp(max=-torch.finfo(going_on.dtype).tiny))  # log lambda_n
    return torch.cat([(before + halting)[:-1], before[-1:]])
