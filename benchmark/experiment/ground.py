"""Common ground: parameters that all methods on a dataset share, so that they differ in their ideas alone.

A dataset's `ground` in the configuration (strides, pooling, widths, ...) is given to every method that has parameters
of these names.  A method departs from it where the configuration gives it a value of its own, and cannot share a key
for which it has no parameter; both are named in run.json and in the tables.

A ground of one stage (one entry in `channels`, one in `strides`) is also given to methods that always have several:
each of their stages is as wide, and only the first has the stride.  Residual stages of one width and resolution are
one stage, so that is the same ground.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args, get_origin

from pydantic.fields import FieldInfo

from benchmark.experiment.messages import plain


@dataclass(frozen=True)
class Ground:
    """How far a method stands on its dataset's ground.

    Attributes:
        shared: keys that it has from the ground, with the ground's values.
        departures: keys that it has otherwise, with its own values.
        cannot_share: keys that it has no parameter for.
    """

    shared: Mapping[str, Any] = field(default_factory=dict)
    departures: Mapping[str, Any] = field(default_factory=dict)
    cannot_share: tuple[str, ...] = ()

    def described(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "shared": plain(self.shared),
            "departures": plain(self.departures),
            "cannot_share": list(self.cannot_share),
        }

    def __str__(self) -> str:
        """Empty where a method shares all of the ground."""
        departures = [f"{key}: {plain(value)}" for key, value in self.departures.items()]
        return "; ".join(departures + [f"cannot share {key}" for key in self.cannot_share])


#: Of a dataset that has none.
NO_GROUND = Ground()


def stand(ground: Mapping[str, Any], accepted: Mapping[str, FieldInfo], own: Mapping[str, Any]) -> Ground:
    """A method with parameters `accepted`, to which the configuration gives `own`, on a dataset's `ground`."""
    asked = {key: _in_stages(key, ground[key], accepted[key].annotation) for key in ground if key in accepted}
    departures = {key: own[key] for key, value in asked.items() if key in own and own[key] != value}
    shared = {key: value for key, value in asked.items() if key not in departures}
    return Ground(shared, departures, tuple(key for key in ground if key not in accepted))


def _in_stages(key: str, value: Any, annotation: Any) -> Any:
    """The value of a single stage for as many stages as the annotation demands; any other value as it is."""
    stages = get_args(annotation) if get_origin(annotation) is tuple else ()
    if not isinstance(value, tuple) or len(value) != 1 or ... in stages:
        return value
    return (*value, *((1 if key == "strides" else value[0]) for _ in stages[1:]))
