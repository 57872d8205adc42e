"""BranchyNet: side branches let confident samples exit early.

Teerapittayanon, McDanel & Kung, "BranchyNet: Fast Inference via Early Exiting from Deep Neural Networks", ICPR 2016.

- Training minimises sum_n w_n CE_n over all exits, the last included.
- Inference: a sample leaves at the first exit n where the entropy of softmax(logits_n) is below T_n, else at the end.

As in the paper's ResNet there are branches after the first residual unit and after the first stage; a third one, after
the second stage, is ours.

Departures. Every branch here has one form: a strided 3x3 convolution to twice the channels, batch norm, ReLU, pooling
and a linear layer. The branches of the paper's ResNet-110 differ from each other; in the authors' code
(`networks/resnet_cifar10.py`)

- the first is ReLU, local response normalisation, two 3x3 convolutions to 32 channels at full resolution, each with
  ReLU, maximum pooling by 2, and two linear layers, from all 7,200 numbers to 3,600 and from there to the classes;
- the second is one more residual unit of 16 channels and a linear layer from all 14,400 numbers to the classes.

The first one's larger linear layer alone costs 26 M MACs, which pays beside a ResNet-110 (about 250 M) and not beside
the smaller networks of this suite. The authors' code also trains the main network alone first; here all exits learn
together from the first step. The equal weights are ours, and so is the choice of the thresholds: the paper screens a
few by hand, here they are searched jointly on the validation split. An exit with threshold 0 can never be taken, so
its branch is not run.
"""

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from baselines.backbone import Backbone
from baselines.exits import EarlyExitNetwork, State
from dynalay.classifier import OperatingPoint, TrainingState
from dynalay.components import Component
from dynalay.meter import Meter
from dynalay.parts import pooled_linear


class BranchyNet(EarlyExitNetwork):
    """A ResNet with early exits.

    An operating point's setting is one entropy threshold (nats) for each early exit; its knob is the share of the full
    network's MACs (no branch run, nobody leaves early) that these thresholds spend on the validation split.

    Args:
        image_shape: (channels, height, width) of the normalised input.
        classes: the number of classes.
        depth: of the backbone, 6n + 2.
        channels: of the backbone's three stages.
        strides: of the backbone's three stages.
        pool: how the head and the branches pool, "average" or "maximum".
        exits: the numbers of residual units after which there is a branch, ascending, each in [1, 3n); by default after
            the first unit and after the first two stages.
        exit_weight: w_n of every early exit in the joint loss; the last exit has weight 1.
        points: into how many budgets of compute the search for thresholds divides the range.
    """

    search_space: ClassVar = {"exit_weight": (0.25, 4.0, "log")}
    score_name = "entropy"

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        classes: int,
        *,
        depth: int = 20,
        channels: tuple[int, int, int] = (16, 32, 64),
        strides: tuple[int, int, int] = (1, 2, 2),
        pool: Literal["average", "maximum"] = "average",
        exits: tuple[int, ...] | None = None,
        exit_weight: float = 1.0,
        points: int = 12,
    ) -> None:
        backbone = Backbone(image_shape, classes, depth, channels, strides, pool)
        units = backbone.units
        per_stage = len(units) // 3
        if exits is None:
            exits = tuple(sorted({1, per_stage, 2 * per_stage}))
        if list(exits) != sorted(set(exits)) or not all(1 <= exit_ < len(units) for exit_ in exits) or not exits:
            raise ValueError(f"exits={exits} must be ascending numbers of units from 1 to {len(units) - 1}")
        super().__init__(image_shape, classes, exits=len(exits) + 1)
        self.exit_weight = exit_weight
        self.points = points

        bounds = itertools.pairwise((0, *exits, len(units)))
        segments = [units[start:end] for start, end in bounds]
        segments[0].insert(0, backbone.stem)
        self.segments = nn.ModuleList(nn.Sequential(*segment) for segment in segments)
        # What an exit sees, and thus what the next segment starts from.
        self._shapes = [backbone.unit_shapes[exit_ - 1] for exit_ in (*exits, len(units))]
        self.branches = nn.ModuleList(_branch(shape[0], classes, pool) for shape in self._shapes[:-1])
        self.head = backbone.head

    @property
    def default_point(self) -> OperatingPoint:
        """Nobody leaves early."""
        return OperatingPoint(knob=1.0, setting=(0.0,) * len(self.branches))

    def components(self) -> dict[str, Component]:
        starts = [self.image_shape, *self._shapes]
        components = {}
        for n, segment in enumerate(self.segments):
            components[f"segment{n + 1}"] = Component(segment, (starts[n],))
            if n < len(self.branches):
                components[f"exit{n + 1}"] = Component(self.branches[n], (self._shapes[n],))
        return components | {"head": Component(self.head, (self._shapes[-1],))}

    def run_exit(self, n: int, state: State, memory: State, rows: Tensor, meter: Meter) -> tuple[Tensor, State]:
        return meter("head" if n == self.exits else f"exit{n}", *state, rows=rows), ()

    def score(self, logits: Tensor) -> Tensor:
        """The entropy in nats."""
        return entropy(logits)

    def leaves(self, scores: Tensor, threshold: float) -> Tensor:
        return scores < threshold

    def is_run(self, threshold: float) -> bool:
        """An exit with threshold 0 can never be taken."""
        return threshold > 0

    def training_loss(
        self, images: Tensor, labels: Tensor, meter: Meter, state: TrainingState
    ) -> tuple[Tensor, dict[str, Tensor]]:
        *early, last = [functional.cross_entropy(logits, labels) for logits in self.all_exits(images, meter)]
        logs = {f"exit{n}_loss": loss.detach() for n, loss in enumerate(early, start=1)}
        return last + self.exit_weight * sum(early), logs | {"head_loss": last.detach()}

    @torch.no_grad()
    def operating_points(self, validation: Iterable[tuple[Tensor, Tensor]]) -> list[OperatingPoint]:
        """The best thresholds at evenly spaced budgets, and both ends: always the first exit, never an early one."""
        entropies, correct = [], []
        components = self.components()
        for images, labels in validation:
            logits = torch.stack(self.all_exits(images, Meter(components, len(images), images.device)), dim=1)
            entropies.append(entropy(logits[:, :-1]))
            correct.append(logits.argmax(dim=2) == labels[:, None])
        macs = dict(zip(components, self.component_macs().tolist(), strict=True))
        segments = [macs[f"segment{n}"] for n in range(1, len(self.segments) + 1)]
        segments[-1] += macs["head"]
        branches = [macs[f"exit{n}"] for n in range(1, len(self.branches) + 1)]
        settings = search_thresholds(
            torch.cat(entropies).cpu(), torch.cat(correct).cpu(), segments, branches, self.points
        )
        return [OperatingPoint(knob=share, setting=thresholds) for share, thresholds in settings.items()]


def _branch(channels: int, classes: int, pool: str) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, 2 * channels, kernel_size=3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(2 * channels),
        nn.ReLU(inplace=True),
        pooled_linear(2 * channels, classes, pool),
    )


def entropy(logits: Tensor) -> Tensor:
    """Entropy in nats of softmax(logits) over the last dimension."""
    log_probabilities = functional.log_softmax(logits.float(), dim=-1)
    return -(log_probabilities.exp() * log_probabilities).sum(dim=-1)


def search_thresholds(
    entropies: Tensor,
    correct: Tensor,
    segment_macs: Sequence[int],
    branch_macs: Sequence[int],
    budgets: int,
    settings: int = 4096,
) -> dict[float, tuple[float, ...]]:
    """Thresholds that reach the best accuracy at each of several budgets of compute.

    All combinations of a grid are tried: for every exit, never (0), always (inf) and evenly spaced quantiles of its
    entropies, as many as keep the number of combinations near `settings`.  Of the combinations that cost between one
    budget and the next, the most accurate is taken, unless a cheaper one was more accurate still.

    Args:
        entropies: float [samples, exits], of the early exits.
        correct: bool [samples, exits + 1], whether each exit, the last included, is right.
        segment_macs: MACs of the backbone up to the first exit, from there to the second, ..., to the end.
        branch_macs: MACs of each early exit's branch.
        budgets: how many, evenly spaced from the cost of always leaving at the first exit to that of the full network.
        settings: about how many combinations to try.

    Returns:
        By the share of the full network's MACs that they spend (4 decimals, ascending): thresholds, one for each exit.
        Always leaving at the first exit and never leaving early are always among them.
    """
    exits = entropies.shape[1]
    full = sum(segment_macs)
    per_exit = max(round(settings ** (1 / exits)) - 2, 1)
    levels = torch.linspace(0, 1, per_exit + 2)[1:-1].to(entropies.dtype)
    candidates = [(0.0, *entropies.quantile(levels, dim=0)[:, n].unique().tolist(), math.inf) for n in range(exits)]

    def evaluate(thresholds: tuple[float, ...]) -> tuple[float, float]:
        """Share of the full network's MACs, and accuracy."""
        leaves = functional.pad(entropies < torch.tensor(thresholds), (0, 1), value=True)
        taken = leaves.int().argmax(dim=1)  # the first exit at which a sample leaves
        branches = [macs if threshold > 0 else 0 for macs, threshold in zip(branch_macs, thresholds, strict=True)]
        cost = (torch.tensor(segment_macs) + torch.tensor([*branches, 0])).cumsum(dim=0)
        accuracy = correct.gather(1, taken[:, None]).double().mean().item()
        return cost[taken].double().mean().item() / full, accuracy

    tried = {thresholds: evaluate(thresholds) for thresholds in itertools.product(*candidates)}
    first, never = (math.inf,) * exits, (0.0,) * exits
    chosen, best = [first], tried[first][1]
    edges = torch.linspace(tried[first][0], 1.0, budgets, dtype=torch.float64).tolist()
    for low, high in itertools.pairwise(edges):
        band = [thresholds for thresholds, (share, _) in tried.items() if low < share <= high]
        if not band:
            continue
        # Of settings that are equally accurate, the cheapest.
        pick = max(band, key=lambda thresholds: (tried[thresholds][1], -tried[thresholds][0]))
        if tried[pick][1] >= best:
            chosen.append(pick)
            best = tried[pick][1]
    return {round(tried[thresholds][0], 4): thresholds for thresholds in chosen} | {1.0: never}
