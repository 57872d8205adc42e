"""Trials: runs whose tuned settings are drawn from the search space; trial 0 keeps those of the configuration.

The draws are a scrambled Halton sequence (`scipy.stats.qmc`), random search whose points keep clear of each other, as
recommended by Bousquet et al., "Critical Hyper-Parameters: No Random, No Cry", arXiv 1706.03200.  More trials extend
the sequence, so earlier ones remain valid, and the learning rates and weight decays are the same for all methods.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from scipy.stats import qmc

from benchmark.errors import UserError
from benchmark.experiment import kinds
from benchmark.experiment.configuration import Configuration, Run
from benchmark.experiment.space import LARGEST, RECIPE, Choices, Range, search_space

#: The seed of all trials, or the first one above it that is none of the experiment's: what is chosen must not suit the
#: random draws of the very runs that are reported.
FIRST_SEED = 1000


@dataclass(frozen=True)
class Trial(Run):
    """A run that tries some settings; its evaluation reads the validation split alone.

    Attributes:
        number: 0 is the configuration without tuning.
    """

    number: int = 0

    sees_test: ClassVar[bool] = False

    def folder(self, results: Path) -> Path:
        return results / self.experiment / "tuning" / self.dataset / self.method / f"trial{self.number}"

    def points_file(self, results: Path) -> Path:
        """Where its operating points are kept; the name carries its identity, so that they are never another one's."""
        return self.folder(results) / f"points-{self.digest}.json"

    def __str__(self) -> str:
        return f"{self.dataset}/{self.method}/trial{self.number}"


@dataclass(frozen=True)
class Space:
    """What is tuned of a method on a dataset.

    Attributes:
        recipe: dimensions that all methods share.
        parameters: the method's own.
    """

    recipe: dict[str, Range]
    parameters: dict[str, Range | Choices]

    def at(self, places: np.ndarray) -> tuple[dict[str, Any], dict[str, Any]]:
        """The recipe's and the parameters' values at places in [0, 1), those of the recipe first."""
        free = iter(places.tolist())
        recipe = {name: dimension.at(next(free)) for name, dimension in self.recipe.items()}
        return recipe, {name: dimension.at(next(free)) for name, dimension in self.parameters.items()}


def space(configuration: Configuration, dataset: str, method: str) -> Space:
    """The search space of a method on a dataset.

    Not tuned are parameters that belong to the dataset's ground, which all methods share, and those that the experiment
    gives the method on all datasets, which make it what it is (a size, an ablation).

    Raises:
        UserError: the method's declaration has a mistake.
    """
    run = configuration.run(dataset, method, configuration.seeds[0])
    declared = search_space(kinds.find("method", run.method_kind))
    fixed = {*run.ground.shared, *run.ground.departures, *configuration.method_parameters[method]}
    return Space(
        dict(RECIPE[run.recipe.optimizer]), {name: found for name, found in declared.items() if name not in fixed}
    )


def trial(configuration: Configuration, dataset: str, method: str, number: int) -> Trial:
    """One trial of an experiment without tuned settings.

    Raises:
        UserError: the experiment has no such dataset or method, or the method's search space has a mistake.
    """
    if number < 0:
        raise UserError(f"trial {number}: trials are numbered from 0, the configuration as it stands.")
    run = configuration.run(dataset, method, configuration.seeds[0])
    settings = {field.name: getattr(run, field.name) for field in fields(run)} | {"seed": seed(configuration)}
    unchanged = Trial(**settings, number=number)
    if number == 0:
        return unchanged
    recipe, own = space(configuration, dataset, method).at(_places(number)[-1])
    return unchanged.changed(recipe, own)


def trials(configuration: Configuration, count: int, datasets: Sequence[str]) -> list[Trial]:
    """`count` trials of every method on each of the datasets."""
    return [
        trial(configuration, dataset, method, number)
        for dataset in datasets
        for method in configuration.methods
        for number in range(count)
    ]


def seed(configuration: Configuration) -> int:
    """The seed of all trials."""
    number = FIRST_SEED
    while number in configuration.seeds:
        number += 1
    return number


@cache
def _places(count: int) -> np.ndarray:
    """The first points of the sequence, [count, dimensions]; those of a smaller `count` begin those of a larger one."""
    dimensions = max(map(len, RECIPE.values())) + LARGEST
    return qmc.Halton(dimensions, scramble=True, rng=np.random.default_rng(0)).random(count)
