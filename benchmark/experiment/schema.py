"""What may stand in a configuration; `config/README.md` explains every key."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

#: Labels become folder names and Snakemake wildcards.
Label = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)]
Positive = Annotated[int, Field(ge=1)]


def _counted(seeds: Any) -> Any:
    """A number of seeds as the list of the first so many."""
    if isinstance(seeds, tuple):
        return seeds
    if type(seeds) is not int or not 0 < seeds <= 10_000:
        raise ValueError("must be a list of seeds, or how many (1 to 10,000)")
    return tuple(range(seeds))


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Augmentation(_Strict):
    """Random transformations of a training batch; `config/README.md` says which suit which dataset."""

    crop: Annotated[int, Field(ge=0)] = 0
    flip: bool = False
    dihedral: bool = False


class Recipe(_Strict):
    """How a run is trained: the same for all methods unless the configuration says otherwise."""

    epochs: Positive = 10
    batch_size: Positive = 128
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: Annotated[float, Field(gt=0)] = 4e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.02
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.2
    gradient_clip: Annotated[float, Field(gt=0)] | None = 1.0
    precision: Literal["float32", "bfloat16"] = "float32"
    augmentation: Augmentation = Augmentation()


class MethodEntry(_Strict):
    """What stands under a method's label."""

    kind: str | None = None
    parameters: dict[str, Any] = {}
    recipe: dict[str, Any] = {}


class MethodOverride(_Strict):
    """What one dataset says otherwise of a method."""

    parameters: dict[str, Any] = {}
    recipe: dict[str, Any] = {}


class DatasetEntry(_Strict):
    """What stands under a dataset's label."""

    kind: str | None = None
    parameters: dict[str, Any] = {}
    ground: dict[str, Any] = {}
    recipe: dict[str, Any] = {}
    methods: dict[Label, MethodOverride] = {}
    tuned_as: Label | None = None


class File(_Strict):
    """A configuration as it is written."""

    experiment: Label
    title: str = ""
    question: str = ""
    seeds: Annotated[tuple[Annotated[int, Field(ge=0, lt=2**31)], ...], BeforeValidator(_counted)]
    reference: Label
    latency: bool = False
    tuned: str | None = None
    recipe: dict[str, Any] = {}
    datasets: dict[Label, DatasetEntry | None]
    methods: dict[Label, MethodEntry | None]


#: Keys of a recipe that no longer exist, with the value under which results made with them remain valid.
RETIRED = {"augmentation.cutout": 0}
