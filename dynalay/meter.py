"""The meter: components are executed through it and only through it, so that work and its count cannot drift apart."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int32, Int64, Shaped
from torch import Tensor

from dynalay.components import Component


class Meter:
    """Executes components on the rows of one batch and counts, for every sample, how often each one ran.

    ``macs = meter.executions @ component_macs`` holds for every method, static or adaptive: a static network is one
    component that runs once.

    Args:
        components: the model's components, by name; only these can be executed.
        samples: the number of samples in the batch.
        device: where the counts are kept; the device of the model, so that counting never waits for it.
        strict: whether inputs must have the declared shapes, for which costs were counted. False is for inputs of
            another resolution: their costs are those of `input_shapes`.

    Attributes:
        notes: what a model wants recorded of each sample beside the counts, by name, each [samples].

    Example:
        >>> from torch import nn
        >>> meter = Meter({"stem": Component(nn.Linear(4, 2), ((4,),))}, samples=3)
        >>> hard = torch.tensor([0, 2])
        >>> meter("stem", torch.ones(2, 4), rows=hard).shape
        torch.Size([2, 2])
        >>> meter.executions.flatten().tolist()
        [1, 0, 1]
    """

    #: Whether anybody hears of `decision`; what is computed for it alone can be left out otherwise.
    listens: ClassVar[bool] = False

    def __init__(
        self,
        components: Mapping[str, Component],
        samples: int,
        device: torch.device | str = "cpu",
        *,
        strict: bool = True,
    ) -> None:
        self.components = components
        self.samples = samples
        self.strict = strict
        self.notes: dict[str, Tensor] = {}
        self._column = {name: column for column, name in enumerate(components)}
        self._executions = torch.zeros(samples, len(components), dtype=torch.int32, device=device)
        #: What has run and is not in `_executions` yet: times for the whole batch by column, and (column, rows).
        self._whole: Counter[int] = Counter()
        self._parts: list[tuple[int, Tensor]] = []
        self._shapes = {name: component.input_shapes for name, component in components.items()} if strict else {}

    def __call__(self, name: str, *inputs: Tensor, rows: Int64[Tensor, "rows"] | None = None) -> Any:
        """Execute component `name` on `inputs` and add one execution to each of `rows`.

        Args:
            name: a component's name.
            inputs: the component's inputs, each [len(rows), ...].
            rows: int64, the distinct samples of the batch that `inputs` holds, in order; None means all of them.

        Returns:
            Whatever the component's module returns.

        Raises:
            KeyError: no component has this name.
            ValueError: an input's shape is not the declared one, or, if not `strict`, not that of the component's first
                execution: one batch has one cost per component.
        """
        if name not in self.components:
            raise KeyError(f"no component {name!r}; the model declares {', '.join(self.components)}")
        component = self.components[name]
        count = self.samples if rows is None else rows.size(0)
        expected = self._shapes.get(name)
        if expected is None:
            expected = self._shapes[name] = tuple(tuple(tensor.shape[1:]) for tensor in inputs)
        if [tensor.shape for tensor in inputs] != [(count, *shape) for shape in expected]:
            shapes = tuple(tuple(tensor.shape) for tensor in inputs)
            source = "its declaration" if self.strict else "its first execution"
            raise ValueError(f"component {name!r} got inputs {shapes} where {source} says {count} of {expected}")
        if rows is None or count == self.samples:
            self._whole[self._column[name]] += 1
        else:
            self._parts.append((self._column[name], rows))
        return component.module(*inputs)

    @property
    def executions(self) -> Int32[Tensor, "samples components"]:
        """How often each component ran for each sample: int32 [samples, components], in the order of `components`."""
        # Added up when somebody asks, since each small operation takes as long as a small component on one sample.
        if self._whole:
            times = [self._whole[column] for column in range(len(self.components))]
            # Not in place: a tensor made in inference mode may be asked for outside of it.
            self._executions = self._executions + torch.tensor(times, dtype=torch.int32, device=self._executions.device)
            self._whole.clear()
        if self._parts:
            width = len(self.components)
            cells = torch.cat([rows * width + column for column, rows in self._parts])
            ones = torch.ones_like(cells, dtype=torch.int32)
            self._executions = self._executions.view(-1).index_add(0, cells, ones).view(-1, width)
            self._parts.clear()
        return self._executions

    @property
    def ran_as_declared(self) -> bool:
        """Whether every input had the declared shape, for which costs are counted; always so if `strict`."""
        return all(shapes == self.components[name].input_shapes for name, shapes in self._shapes.items())

    @property
    def input_shapes(self) -> dict[str, tuple[tuple[int, ...], ...]]:
        """The input shapes that each component ran with; the declared ones where it never ran."""
        return {name: self._shapes.get(name, component.input_shapes) for name, component in self.components.items()}

    def note(self, name: str, values: Shaped[Tensor, "rows"], rows: Int64[Tensor, "rows"] | None = None) -> None:
        """Record `values` [len(rows)] of `rows` under `name`; other samples hold NaN (floats) or -1 (integers)."""
        if rows is None:
            self.notes[name] = values.detach()
            return
        if (known := self.notes.get(name)) is None:
            absent = float("nan") if values.is_floating_point() else -1
            known = torch.full((self.samples,), absent, dtype=values.dtype, device=values.device)
        self.notes[name] = known.index_copy(0, rows, values.detach().to(known.dtype))

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
        """Tell of a decision, as it is taken; only `dynalay.trace.TracingMeter` listens.

        Args:
            name: where it is taken, such as "exit 2".
            choices: what can be chosen, in words.
            chosen: indices into `choices`, or bool where there are two, [rows].
            numbers: what the decision rests on, by name, such as a score and the threshold; each [rows] or one for all.
            answer: the logits [rows, classes] that samples would get if they went no further, or what computes them. It
                runs modules directly, or by a meter of its own: nobody spends this compute but who looks.
            rows: int64, the samples decided about; None means all of them.
            seen: what an agent looks at, by name, each [rows, numbers].
        """

    def macs(self, component_macs: Int64[Tensor, "components"]) -> Int64[Tensor, "samples"]:
        """MACs spent on each sample: int64 [samples], from int64 [components] in the order of `components`."""
        # Not a matrix product: CUDA has none for integers, and floats lose exactness above 2**24.
        return (self.executions.long() * component_macs).sum(dim=1)
