"""The file in which tuning keeps what it chose: `config/tuned/<experiment>.yaml`, which an experiment can name."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from benchmark.errors import UserError
from benchmark.experiment.messages import explain, plain, shown
from benchmark.experiment.reading import read
from benchmark.experiment.runs import Run


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Values(_Strict):
    """Some of a run's settings."""

    recipe: dict[str, Any] = {}
    parameters: dict[str, Any] = {}


class Choice(_Strict):
    """What tuning chose for a method on a dataset.

    Attributes:
        trial: the one whose values these are; 0 is the configuration without tuning, which changes nothing.
        scores: of all trials, in order; null for one that diverged.
        recipe: tuned settings of the recipe.
        parameters: tuned parameters of the method.
        before: what the tuned settings were without tuning.
    """

    trial: Annotated[int, Field(ge=0)]
    scores: tuple[float | None, ...]
    recipe: dict[str, Any] = {}
    parameters: dict[str, Any] = {}
    before: Values


class TunedDataset(_Strict):
    """What tuning chose on a dataset, with the budgets in MACs between which scores are areas."""

    budgets: tuple[float, float]
    methods: dict[str, Choice]


class TunedFile(_Strict):
    """The file as it is written.

    Attributes:
        experiment: what was tuned.
        trials: of every method on every dataset.
        seed: of all trials.
        commits: which the code of the trials was at; null outside a checkout.
        dirty: whether any trial's code differed from its commit.
        versions: of Python and the packages that results depend on; several where trials differ.
        datasets: what was chosen.
    """

    experiment: str
    trials: int
    seed: int
    commits: tuple[str | None, ...]
    dirty: bool
    versions: dict[str, str | None]
    datasets: dict[str, TunedDataset]


@dataclass(frozen=True)
class Tuned:
    """The tuned settings that an experiment names.

    Attributes:
        path: of the file.
        content: of the file.
    """

    path: Path
    content: TunedFile

    def choice(self, dataset: str, method: str) -> Choice | None:
        """What was chosen for a method on a dataset, if it was tuned."""
        of_dataset = self.content.datasets.get(dataset)
        return of_dataset.methods.get(method) if of_dataset else None

    def outdated(self, run: Run, choice: Choice) -> Iterator[str]:
        """Mistakes: settings of the run, not yet tuned, that the configuration has changed since tuning."""
        now, then = (run.recipe.model_dump(), run.method_parameters), (choice.before.recipe, choice.before.parameters)
        for settings, earlier in zip(now, then, strict=True):
            for key, value in earlier.items():
                if plain(settings.get(key)) != plain(value):
                    yield (
                        f"tuned: {self.path} was made when {run.dataset}/{run.method} had {key} {shown(value)}, but it "
                        f"has {shown(settings.get(key))} now; tune again (snakemake tune), or delete its entry there."
                    )


def read_tuned(path: Path) -> Tuned:
    """The content of a file of tuned settings.

    Raises:
        UserError: it cannot be read, or is not such a file.
    """
    if not path.exists():
        raise UserError(f"tuned: there is no file {path}; name one that `snakemake tune` made, or remove the key.")
    try:
        return Tuned(path, TunedFile.model_validate(read(path)))
    except ValidationError as error:
        raise UserError(f"tuned: {path} is not as `snakemake tune` writes it:\n{explain(error, TunedFile)}") from None
