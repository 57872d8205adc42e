"""A run, what determines its result, and whether a result on disk is its own."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

from benchmark.experiment.ground import NO_GROUND, Ground
from benchmark.experiment.kinds import UNSTATED, Meaning
from benchmark.experiment.messages import plain
from benchmark.experiment.schema import RETIRED, Recipe


@dataclass(frozen=True)
class Run:
    """One training: a dataset, a method and a seed, with everything resolved (labels are the configuration's)."""

    experiment: str
    dataset: str
    method: str
    seed: int
    dataset_kind: str
    dataset_parameters: Mapping[str, Any]
    method_kind: str
    method_parameters: Mapping[str, Any]
    recipe: Recipe
    dataset_meaning: Meaning = UNSTATED
    method_meaning: Meaning = UNSTATED
    ground: Ground = NO_GROUND

    #: Whether its evaluation reads the test split.
    sees_test: ClassVar[bool] = True

    def changed(self, recipe: Mapping[str, Any], parameters: Mapping[str, Any]) -> Self:
        """The same run with some of its recipe and of its method's parameters set otherwise, all known to be valid."""
        return replace(
            self,
            recipe=Recipe.model_validate(self.recipe.model_dump() | dict(recipe)),
            method_parameters={**self.method_parameters, **parameters},
        )

    def folder(self, results: Path) -> Path:
        """Where the run's files are."""
        return results / self.experiment / self.dataset / self.method / f"seed{self.seed}"

    def resolved(self) -> dict[str, Any]:
        """All that determines the run's result, defaults filled in, as plain JSON values."""
        return {
            "dataset": _described(self.dataset_kind, self.dataset_parameters, self.dataset_meaning),
            "method": _described(self.method_kind, self.method_parameters, self.method_meaning),
            "recipe": self.recipe.model_dump(mode="json"),
            "seed": self.seed,
        }

    @cached_property
    def digest(self) -> str:
        """A short hash of the run's identity: two runs with the same digest are the same run.

        Only what differs from the defaults is hashed, with the versions that the kinds state.  So a new parameter with
        a default leaves the digests of old runs as they are; one whose meaning changes raises its kind's version.
        """
        identity = {
            "dataset": _described(self.dataset_kind, self.dataset_parameters, self.dataset_meaning, whole=False),
            "method": _described(self.method_kind, self.method_parameters, self.method_meaning, whole=False),
            "recipe": self.recipe.model_dump(mode="json", exclude_defaults=True),
            "seed": self.seed,
        }
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]

    def is_described_by(self, description: Mapping[str, Any]) -> bool:
        """Whether a run.json is this run's, as far as the configuration goes.

        Decided by content and not by the digest, so that results of older code are recognised: a parameter that
        run.json lacks must have its default today, and one that no longer exists must be retired with run.json's value.
        """
        recipe = description.get("recipe")
        return (
            isinstance(recipe, Mapping)
            and description.get("seed") == self.seed
            and _is_same(description.get("dataset"), self.resolved()["dataset"], self.dataset_meaning)
            and _is_same(description.get("method"), self.resolved()["method"], self.method_meaning)
            and _agree(
                _leaves(recipe), _leaves(self.recipe.model_dump(mode="json")), _leaves(Recipe().model_dump()), RETIRED
            )
        )

    def __str__(self) -> str:
        return f"{self.dataset}/{self.method}/seed{self.seed}"


def _described(kind: str, parameters: Mapping[str, Any], meaning: Meaning, whole: bool = True) -> dict[str, Any]:
    """A kind and its parameters (unless `whole`, those that differ from the defaults) as plain values."""
    values, defaults = plain(parameters), plain(meaning.defaults)
    if not whole:
        values = {key: value for key, value in values.items() if key not in defaults or defaults[key] != value}
    described = {"kind": kind, "parameters": values}
    if meaning.version != 1:
        described["version"] = meaning.version
    if meaning.distribution is not None:
        described["distribution"] = meaning.distribution
    return described


def _is_same(then: Any, now: Mapping[str, Any], meaning: Meaning) -> bool:
    """Whether a kind, as run.json describes it, is the one described by `now`."""
    if not isinstance(then, Mapping) or not isinstance(then.get("parameters"), Mapping):
        return False
    return (
        all(then.get(key) == now.get(key) for key in ("kind", "version", "distribution"))
        and _agree(then["parameters"], now["parameters"], plain(meaning.defaults), meaning.retired)
    )  # fmt: skip


def _agree(
    then: Mapping[str, Any], now: Mapping[str, Any], defaults: Mapping[str, Any], retired: Mapping[str, Any]
) -> bool:
    missing = object()
    return all(then.get(key, defaults.get(key, missing)) == value for key, value in now.items()) and all(
        key in now or retired.get(key, missing) == plain(value) for key, value in then.items()
    )


def _leaves(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe with its augmentation's keys beside the others, as `augmentation.crop`."""
    augmentation = recipe.get("augmentation") or {}
    flat = {key: value for key, value in recipe.items() if key != "augmentation"}
    return flat | {f"augmentation.{key}": value for key, value in augmentation.items()}
