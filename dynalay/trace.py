"""What a method decides about every sample, step by step: for looking into single decisions.

While it classifies, a method tells its meter of each decision (`Meter.decision`). An ordinary meter does not listen.
The one here takes down what each sample has cost so far, what the decision rests on, what was chosen, and the answer
that the sample would get if nothing more were computed for it than an answer takes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

from dynalay.components import Component
from dynalay.meter import Meter


@dataclass(frozen=True)
class Decision:
    """One decision about some samples of a batch.

    Attributes:
        name: where it was taken, such as "exit 2".
        rows: int64 [rows], the samples that it was taken about.
        macs: spent on each of them so far, int64 [rows].
        probabilities: of the answer if it were given now, float32 [rows, classes].
        choices: what could be chosen, in words.
        chosen: indices into `choices`, int64 [rows].
        numbers: what it rests on, by name, each float32 [rows].
        seen: what an agent looked at, by name, each float32 [rows, numbers]; empty for methods without an agent.
    """

    name: str
    rows: Int64[Tensor, "rows"]
    macs: Int64[Tensor, "rows"]
    probabilities: Float[Tensor, "rows classes"]
    choices: tuple[str, ...]
    chosen: Int64[Tensor, "rows"]
    numbers: dict[str, Tensor]
    seen: dict[str, Tensor]


@dataclass(frozen=True)
class Gains:
    """Decisions whether to evaluate a layer, one entry each: what was expected, and what came of it.

    Attributes:
        layer: in question, from 1, int64 [decisions].
        sample: that it was about, int64 [decisions].
        predicted: worth with the layer less worth without it, as an agent predicted it, float32 [decisions].
        realised: the same as it came out, in {-1, 0, 1}, float32 [decisions].
    """

    layer: Int64[Tensor, "decisions"]
    sample: Int64[Tensor, "decisions"]
    predicted: Float[Tensor, "decisions"]
    realised: Float[Tensor, "decisions"]

    @staticmethod
    def joined(parts: "Sequence[Gains]") -> "Gains":
        """All the decisions of `parts`."""
        names = ("layer", "sample", "predicted", "realised")
        return Gains(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


class TracingMeter(Meter):
    """A meter that takes down every decision reported to it; executions and answers are those of any other meter.

    Args:
        components: the model's components, by name.
        samples: in the batch.
        component_macs: MACs of one execution of each component, int64 [components], on `device`.
        device: of the model.

    Attributes:
        decisions: in the order in which they were taken.
    """

    listens = True

    def __init__(
        self,
        components: Mapping[str, Component],
        samples: int,
        component_macs: Int64[Tensor, "components"],
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(components, samples, device)
        self.decisions: list[Decision] = []
        self._component_macs = component_macs

    def spent(self) -> Int64[Tensor, "samples"]:
        """MACs spent on each sample so far: int64 [samples]."""
        return self.macs(self._component_macs)

    def decision(
        self,
        name: str,
        choices: Sequence[str],
        chosen: Shaped[Tensor, "rows"],
        numbers: Mapping[str, Tensor | float],
        answer: Float[Tensor, "rows classes"] | Callable[[], Tensor],
        rows: Int64[Tensor, "rows"] | None = None,
        seen: Mapping[str, Tensor] | None = None,
    ) -> None:
        if rows is None:
            rows = torch.arange(self.samples, device=self.executions.device)
        if not len(rows):
            return

        def taken_down(number: Tensor | float) -> Tensor:
            return torch.as_tensor(number, dtype=torch.float32, device=rows.device).detach().expand(len(rows))

        self.decisions.append(
            Decision(
                name,
                rows,
                self.spent()[rows],
                (answer if isinstance(answer, Tensor) else answer()).detach().float().softmax(dim=1),
                tuple(choices),
                chosen.long(),
                {key: taken_down(number) for key, number in numbers.items()},
                {key: part.detach().float() for key, part in (seen or {}).items()},
            )
        )
