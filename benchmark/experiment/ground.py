"""Common ground: parameters that all methods on a dataset share, so that they differ in their ideas alone.

A dataset's `ground` in the configuration (strides, pooling, widths, ...) is given to every method that has parameters
of these names.  A method departs from it where the configuration gives it a value of its own, and cannot share a key
for which it has no parameter; both are named in run.json and in the tables.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

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


def stand(ground: Mapping[str, Any], accepted: Collection[str], own: Mapping[str, Any]) -> Ground:
    """A method with parameters `accepted`, to which the configuration gives `own`, on a dataset's `ground`."""
    departures = {key: own[key] for key in ground if key in own and key in accepted and own[key] != ground[key]}
    shared = {key: value for key, value in ground.items() if key in accepted and key not in departures}
    return Ground(shared, departures, tuple(key for key in ground if key not in accepted))
