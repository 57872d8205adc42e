"""What tuning may choose: from a space that all methods share, and from the one that each method declares on its class.

A method declares at most four parameters of its own, as literals, which are read without importing anything:

    search_space: ClassVar[Mapping[str, Any]] = {"tau": (0.003, 0.3, "log"), "exits": [(2,), (1, 2)]}

A tuple ``(low, high, "log")`` or ``(low, high, "linear")`` is a range of numbers; a list holds choices.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from benchmark.errors import UserError
from benchmark.experiment.kinds import Kind
from benchmark.experiment.messages import mistakes, suggest

#: A method may declare so many parameters of its own.
LARGEST = 4


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, evenly spread, or with "log" so that each doubling weighs the same."""

    low: float
    high: float
    scale: str

    def at(self, place: float) -> float:
        """The number at a place in [0, 1), to three significant digits."""
        if self.scale == "log":
            return float(f"{self.low * (self.high / self.low) ** place:.3g}")
        return float(f"{self.low + (self.high - self.low) * place:.3g}")

    def ends(self) -> tuple[float, ...]:
        """What has to be valid for the whole range to be valid."""
        return self.low, self.high


@dataclass(frozen=True)
class Choices:
    """A few values, equally likely."""

    values: tuple[Any, ...]

    def at(self, place: float) -> Any:
        """The value at a place in [0, 1)."""
        return self.values[int(place * len(self.values))]

    def ends(self) -> tuple[Any, ...]:
        """All values."""
        return self.values


#: By optimiser, since AdamW decouples weight decay from the gradient and SGD does not: a factor of 4 around the suite's
#: usual learning rate each way, and of 10 around its weight decay.
RECIPE: Mapping[str, Mapping[str, Range]] = {
    "adamw": {"learning_rate": Range(1e-3, 1.6e-2, "log"), "weight_decay": Range(2e-3, 0.2, "log")},
    "sgd": {"learning_rate": Range(2.5e-2, 0.4, "log"), "weight_decay": Range(5e-5, 5e-3, "log")},
}


def search_space(kind: Kind) -> dict[str, Range | Choices]:
    """The parameters that a method declares for tuning, checked.

    Raises:
        UserError: the declaration has a mistake; the message names the file, the parameter and the remedy.
    """
    declared = kind.definition.attribute("search_space", {})
    where = f"{kind.definition.module.path}: search_space"
    if not isinstance(declared, Mapping):
        raise UserError(f"{where} must be a mapping from parameters to what they may be.")
    if len(declared) > LARGEST:
        names = ", ".join(map(str, declared))
        raise UserError(f"{where} names {len(declared)} parameters ({names}); at most {LARGEST} are tuned.")
    space = {}
    for name, given in declared.items():
        if name not in kind.parameters.model_fields:
            raise UserError(f"{where} names {name!r}: no such parameter.{suggest(name, _names(kind))}")
        space[name] = _dimension(f"{where}[{name!r}]", given)
        for value in space[name].ends():
            try:
                kind.parameters.model_validate({name: value})
            except ValidationError as error:
                if wrong := list(mistakes(error, kind.parameters, whole=False)):
                    raise UserError(f"{where} holds {value!r}, which the method refuses: {wrong[0]}") from None
    return space


def _names(kind: Kind) -> tuple[str, ...]:
    return tuple(kind.parameters.model_fields)


def _dimension(where: str, given: Any) -> Range | Choices:
    if isinstance(given, list) and len(given) > 1:
        return Choices(tuple(given))
    if isinstance(given, tuple) and len(given) == 3 and _is_range(given):
        return Range(float(given[0]), float(given[1]), given[2])
    raise UserError(
        f"{where} is {given!r}: must be a range (low, high, 'log') or (low, high, 'linear') with low < high, and above "
        "0 for 'log'; or a list of at least two choices."
    )


def _is_range(given: Sequence[Any]) -> bool:
    low, high, scale = given
    numbers = all(type(end) in (int, float) for end in (low, high))
    return numbers and scale in ("log", "linear") and low < high and (low > 0 or scale == "linear")
