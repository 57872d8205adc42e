"""One sweep upwards through a network of sleeping layers, in which every sample may evaluate layers of its own.

Whatever lies below the first layer that a sample evaluates is not computed again, since the bare pass has it; whatever
lies above it is computed once.
"""

import copy
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from dynalay.classifier import Logits
from dynalay.confidence import answer_features, compared_answers
from dynalay.meter import Meter
from dynalay.rows import replaced, take
from dynalay.sleeping import BarePass, SleepingNetwork

#: How often each layer is evaluated, from the lowest up.
Path = tuple[int, ...]
Rows = Int64[Tensor, "rows"]


class Sweep:
    """One sweep upwards through a batch.

    For each layer in turn: `arrive`, then `evaluate` it for some rows, again and again; at the end, `answer`. Between
    two of these, `look` and `answer` show what is known by then.

    A row's key at the transition of stage s says which stages below have a layer awake: the sum of 2^t over them, so
    that stage s has 2^s keys and 0 is that of the bare pass.

    Args:
        network: whose layers to evaluate.
        meter: what executes.
        images: [batch, channels, height, width]; None where `bare` is known.
        bare: what is already known of this batch; without it, transitions run for all rows.

    Attributes:
        hidden: what the present layer passes on, [batch, channels, height, width].
        evaluated: how often each sample has evaluated each layer, int64 [batch, layers].
        logits: the newest answer, [batch, classes]; current where `stale`, bool [batch], is false.
        residual: |f(z, u) - z| / |f(z, u)| at the present layer's last iteration, float [batch]; 1 where it sleeps.
        unseen: where something is new since `look` was called, bool [batch]; the bare pass is new at first.
    """

    def __init__(
        self,
        network: SleepingNetwork,
        meter: Meter,
        images: Float[Tensor, "batch channels height width"] | None = None,
        bare: BarePass | None = None,
    ) -> None:
        self.network = network
        self.meter = meter
        self.bare = bare
        if bare is not None:
            self.hidden = bare.inputs[0]
        else:
            assert images is not None, "a sweep needs images or their bare pass"
            self.hidden = meter("stem", images)
        batch, device = len(self.hidden), self.hidden.device
        self.evaluated = torch.zeros(batch, len(network.stages), dtype=torch.int64, device=device)
        self.stale = torch.full((batch,), bare is None, device=device)
        self.unseen = torch.ones(batch, dtype=torch.bool, device=device)
        self.residual = torch.ones(batch, device=device)
        self.logits = None if bare is None else bare.logits
        self._stage = 0
        self._looked: tuple[Tensor, ...] = ()
        #: What is seen of the answers, and the bare one's part of it; both from the first look on.
        self._answers: Tensor | None = None
        self._of_bare: Tensor | None = None

    def arrive(self, layer: int) -> None:
        """Bring every row to a layer: through the transition, where the layer is the first of its stage."""
        stage = self.network.stages[layer]
        if stage != (self.network.stages[layer - 1] if layer else -1):
            self._look_again()  # at what the stage below ends with
            self._stage = stage
            awake = self.evaluated.any(dim=1)
            rows = torch.arange(len(awake), device=awake.device) if self.bare is None else awake.nonzero().squeeze(1)
            below = take(self.hidden, rows)
            if self.bare is not None:
                self.hidden = self.bare.inputs[stage]
            if len(rows):
                part = self.meter(f"stage{stage + 1}.transition", below, self._key(stage)[rows], rows=rows)
                self.hidden = replaced(self.hidden, rows, part)
                self.unseen = self.unseen.index_fill(0, rows, True)
        self._input = self.hidden
        self.residual = torch.ones_like(self.residual)

    def evaluate(self, layer: int, rows: Rows, again: bool = False) -> None:
        """Iterate `layer` for `rows`, int64, which have all evaluated it before (`again`) or all not."""
        if not len(rows):
            return
        u = take(self._input, rows)
        state = take(self.hidden, rows) if again else torch.zeros_like(u)
        for _ in range(self.network.iterations):
            before, state = state, self.meter(f"layer{layer + 1}.cell", state, u, rows=rows)
        if again or self.network.iterations > 1:  # of one iteration from zero the residual is 1, as it stands
            self.residual = replaced(self.residual, rows, residual(state, before))
        self.hidden = replaced(self.hidden, rows, state)
        self.evaluated = self.evaluated.clone()
        self.evaluated[:, layer].index_add_(0, rows, torch.ones_like(rows))
        self.stale = self.stale.index_fill(0, rows, True)
        self.unseen = self.unseen.index_fill(0, rows, True)

    def answer(self) -> Logits:
        """The answers from where the rows stand in the last stage, [batch, classes]; only new ones are computed."""
        rows = self.stale.nonzero().squeeze(1)
        if len(rows):
            part = self.meter("head", take(self.hidden, rows), rows=rows)
            if self.logits is None:
                self.logits = part
            else:
                if self._answers is not None and self._of_bare is not None:
                    before, of_bare = take(self.logits, rows).float(), take(self._of_bare, rows)
                    compared = compared_answers(part.float(), before, of_bare)
                    self._answers = replaced(self._answers, rows, compared)
                self.logits = replaced(self.logits, rows, part)
            self.stale = torch.zeros_like(self.stale)
        assert self.logits is not None
        return self.logits

    def look(self) -> tuple[Float[Tensor, "batch _"], ...]:
        """The looks at all stages, and what is seen of the answers (`compared_answers`), each [batch, numbers].

        They are the newest that there are, and what is new is seen afterwards. In the last stage, the answer is brought
        up to date. Needs the bare pass.
        """
        assert self.bare is not None, "there is nothing to see above without the bare pass"
        if self._answers is None:
            assert self.logits is not None
            bare = self.bare.logits.float()
            self._of_bare = answer_features(bare)
            self._answers = compared_answers(self.logits.float(), bare, self._of_bare)
            inputs = self.bare.inputs[: len(self.network.looks)]
            self._looked = tuple(self.meter(f"stage{stage}.look", u) for stage, u in enumerate(inputs, start=1))
        self._look_again()
        if self._stage == self.network.stages[-1]:
            self.answer()
        self.unseen = torch.zeros_like(self.unseen)
        return *self._looked, self._answers

    def _look_again(self) -> None:
        """Bring the look at the present stage up to date, if anybody looks at this sweep."""
        rows = (self.unseen & self.evaluated.any(dim=1)).nonzero().squeeze(1)
        if self._looked and len(rows):
            fresh = self.meter(f"stage{self._stage + 1}.look", take(self.hidden, rows), rows=rows)
            looked = list(self._looked)
            looked[self._stage] = replaced(looked[self._stage], rows, fresh)
            self._looked = tuple(looked)

    def follow(self, paths: Int64[Tensor, "batch layers"]) -> Logits:
        """Evaluate each layer as often as `paths`, int64 [batch, layers], says; the answers [batch, classes]."""
        for layer in range(len(self.network.stages)):
            self.arrive(layer)
            for done in range(self.network.evaluations):
                self.evaluate(layer, (paths[:, layer] > done).nonzero().squeeze(1), again=done > 0)
        return self.answer()

    def follow_all(
        self,
        paths: Sequence[Path],
        visit: Callable[["Sweep", int], None] = lambda sweep, layer: None,
        layer: int = 0,
        done: int = 0,
    ) -> dict[Path, Logits]:
        """The answers [batch, classes] to each of several paths; what they share from the bottom up is computed once.

        The meter then counts what was run, which no single sample would need.

        Args:
            paths: distinct.
            visit: called wherever a layer may be evaluated or left, with the sweep as it stands and the layer.
            layer: where the sweep stands; below it, all paths agree.
            done: how often the layer has been evaluated.
        """
        if layer == len(self.network.stages):
            return {path: self.answer() for path in paths}
        if not done:
            self.arrive(layer)
        if len(paths) > 1 and done < self.network.evaluations:
            visit(self, layer)
        left = [path for path in paths if path[layer] == done]
        more = [path for path in paths if path[layer] > done]
        found = copy.copy(self).follow_all(left, visit, layer + 1) if left else {}
        if more:
            self.evaluate(layer, torch.arange(len(self.hidden), device=self.hidden.device), again=done > 0)
            found |= self.follow_all(more, visit, layer, done + 1)
        return found

    def _key(self, stage: int) -> Int64[Tensor, "batch"]:
        """Which stages below `stage` have a layer awake: int64 [batch], one bit a stage."""
        key = torch.zeros(len(self.evaluated), dtype=torch.int64, device=self.evaluated.device)
        for lower in range(stage):
            layers = [layer for layer, of in enumerate(self.network.stages) if of == lower]
            key = key + (self.evaluated[:, layers].any(dim=1).long() << lower)
        return key


@torch.no_grad()
def residual(
    state: Float[Tensor, "rows channels height width"], before: Float[Tensor, "rows channels height width"]
) -> Float[Tensor, "rows"]:
    """|state - before| / |state| of each row: [rows]."""
    size = state.flatten(1).norm(dim=1).clamp_min(torch.finfo(torch.float32).tiny)
    return (state - before).flatten(1).norm(dim=1) / size


def actions(evaluated: Int64[Tensor, "batch layers"], most: int) -> tuple[Int64[Tensor, "batch"], ...]:
    """Evaluations as actions: the layer of the first, the second and so on, from 1; then 0 for the answer, then -1.

    Args:
        evaluated: how often each sample has evaluated each layer, int64 [batch, layers].
        most: how often each may be evaluated.
    """
    ends = evaluated.cumsum(dim=1)
    number = torch.arange(1, most * evaluated.shape[1] + 1, device=ends.device).repeat(len(ends), 1)
    layers, taken = torch.searchsorted(ends, number) + 1, ends[:, -1:]
    return torch.where(number <= taken, layers, torch.eq(taken, number - 1).long() - 1).unbind(dim=1)


def note_actions(meter: Meter, taken: Sequence[Int64[Tensor, "batch"]]) -> None:
    """Note `taken`, as `actions` gives them, under "action1", "action2" and so on."""
    for number, action in enumerate(taken, start=1):
        meter.note(f"action{number}", action)
