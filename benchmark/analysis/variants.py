"""Which methods have an agent, solve for fixed points, or are variants of another; by the configuration alone."""

from collections.abc import Mapping
from functools import cache

from benchmark.experiment import kinds
from benchmark.experiment.configuration import Configuration


def agents(configuration: Configuration) -> list[str]:
    """The methods whose agents are looked into: the first label of each kind that has an agent."""
    first: dict[str, str] = {}
    for label, kind in configuration.method_kinds.items():
        first.setdefault(kind, label)
    return [label for kind, label in first.items() if has_agent(kind)]


@cache
def has_agent(kind: str) -> bool:
    """Whether the class of a kind, or a base class, says `has_agent = True`; read from its source, without torch."""
    return bool(kinds.find("method", kind).definition.attribute("has_agent", False))


def fixed_point_methods(method_kinds: Mapping[str, str]) -> list[str]:
    """The methods whose class, or a base class, says `has_fixed_points = True`; read from its source, without torch."""
    return [label for label, kind in method_kinds.items() if _has_fixed_points(kind)]


@cache
def _has_fixed_points(kind: str) -> bool:
    return bool(kinds.find("method", kind).definition.attribute("has_fixed_points", False))


def variants(method_kinds: Mapping[str, str]) -> dict[str, list[str]]:
    """The variants of each method that has any: its own label first, then `<label>-<what differs>` of the same kind.

    Args:
        method_kinds: the kind of each method, in the configuration's order.
    """
    found: dict[str, list[str]] = {}
    for label, kind in method_kinds.items():
        base = next((b for b in found if method_kinds[b] == kind and label.startswith(f"{b}-")), None)
        found.setdefault(label if base is None else base, []).append(label)
    return {base: labels for base, labels in found.items() if len(labels) > 1}
