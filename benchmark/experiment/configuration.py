"""An experiment's configuration: read, checked, and resolved into runs, without loading torch.

Every key is checked before anything runs.  Parameters of methods and datasets are checked against the signatures in
their sources (`benchmark.experiment.signatures`), so a new method brings its own schema along.
"""

import ast
import difflib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

import baselines
from benchmark.errors import UserError
from benchmark.experiment.signatures import parameters_model

#: Labels become folder names and Snakemake wildcards.
Label = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)]
Positive = Annotated[int, Field(ge=1)]
#: Names of folders that stand beside the datasets' in an experiment's results.
RESERVED = ("figures", "logs", "summary", "tables")


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
    cutout: Annotated[int, Field(ge=0)] = 0
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
    recipe: dict[str, Any] = {}
    methods: dict[Label, MethodOverride] = {}


class File(_Strict):
    """A configuration as it is written."""

    experiment: Label
    seeds: Annotated[tuple[Annotated[int, Field(ge=0, lt=2**31)], ...], BeforeValidator(_counted)]
    reference: Label
    latency: bool = False
    recipe: dict[str, Any] = {}
    datasets: dict[Label, DatasetEntry | None]
    methods: dict[Label, MethodEntry | None]


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

    def folder(self, results: Path) -> Path:
        """Where the run's files lie."""
        return results / self.experiment / self.dataset / self.method / f"seed{self.seed}"

    def resolved(self) -> dict[str, Any]:
        """All that determines the run's result, as plain JSON values."""
        return {
            "dataset": {"kind": self.dataset_kind, "parameters": _plain(self.dataset_parameters)},
            "method": {"kind": self.method_kind, "parameters": _plain(self.method_parameters)},
            "recipe": self.recipe.model_dump(mode="json"),
            "seed": self.seed,
        }

    @cached_property
    def digest(self) -> str:
        """A short hash of `resolved()`: two runs with the same digest are the same run."""
        return hashlib.sha256(json.dumps(self.resolved(), sort_keys=True).encode()).hexdigest()[:16]

    def __str__(self) -> str:
        return f"{self.dataset}/{self.method}/seed{self.seed}"


@dataclass(frozen=True)
class Configuration:
    """A checked experiment.

    Attributes:
        experiment: its name, and its folder's below the results.
        seeds: the seeds of every (dataset, method).
        reference: the label of the method whose MACs count as 100%.
        latency: whether the pipeline times the first seed of every dataset and method.
        dataset_kinds, dataset_parameters: by dataset label, resolved.
        method_kinds: by method label.
    """

    experiment: str
    seeds: tuple[int, ...]
    reference: str
    latency: bool
    dataset_kinds: Mapping[str, str]
    dataset_parameters: Mapping[str, Mapping[str, Any]]
    method_kinds: Mapping[str, str]
    _runs: Mapping[tuple[str, str], Run]

    @property
    def datasets(self) -> tuple[str, ...]:
        """Dataset labels."""
        return tuple(self.dataset_kinds)

    @property
    def methods(self) -> tuple[str, ...]:
        """Method labels."""
        return tuple(self.method_kinds)

    def dataset(self, label: str) -> tuple[str, Mapping[str, Any]]:
        """A dataset's kind and resolved parameters.

        Raises:
            UserError: the experiment has no such dataset.
        """
        self._known("dataset", label, self.datasets)
        return self.dataset_kinds[label], self.dataset_parameters[label]

    def run(self, dataset: str, method: str, seed: int) -> Run:
        """One run of the grid.

        Raises:
            UserError: the experiment has no such dataset, method or seed.
        """
        self._known("dataset", dataset, self.datasets)
        self._known("method", method, self.methods)
        if seed not in self.seeds:
            raise UserError(f"experiment {self.experiment!r} has no seed {seed}; its seeds are {self.seeds}.")
        return replace(self._runs[dataset, method], seed=seed)

    def runs(self) -> list[Run]:
        """The whole grid, seeds innermost."""
        return [replace(run, seed=seed) for run in self._runs.values() for seed in self.seeds]

    def _known(self, what: str, label: str, known: tuple[str, ...]) -> None:
        if label not in known:
            raise UserError(f"experiment {self.experiment!r} has no {what} {label!r}.{_suggest(label, known)}")


def dataset_defaults(kind: str) -> Mapping[str, Any]:
    """The parameters of a kind of dataset that no configuration says anything of.

    Raises:
        UserError: there is no such kind, or it has a parameter without default.
    """
    signatures = _dataset_signatures()
    if kind not in signatures:
        raise UserError(f"there is no dataset kind {kind!r}.{_suggest(kind, tuple(signatures))}")
    try:
        return signatures[kind]().model_dump()
    except ValidationError as error:
        raise UserError(
            f"{kind} needs parameters from a configuration (--config):\n{_explain(error, signatures[kind])}"
        ) from None


def load(path: Path | str) -> Configuration:
    """Read and check a configuration.

    Raises:
        UserError: one message that lists every mistake with its key and a remedy.
    """
    path = Path(path)
    try:
        file = File.model_validate(_read(path))
    except ValidationError as error:
        raise UserError(f"{path}:\n{_explain(error, File)}") from None
    return _Resolver(path, file).configuration()


def _read(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"Cannot read the configuration {path}: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise UserError(f"The configuration {path} is not a text file in UTF-8.") from None
    try:
        content = _tuples(yaml.load(text, Loader=_Loader))
    except Exception as error:  # beside its own errors, PyYAML stumbles in many ways over tags that do not fit
        reason = str(error).replace('"<unicode string>"', str(path)) or type(error).__name__
        raise UserError(f"The configuration {path} is not valid YAML: {reason}") from None
    if not isinstance(content, dict):
        raise UserError(f"The configuration {path} must be a mapping with the keys {', '.join(File.model_fields)}.")
    return content


class _Loader(yaml.SafeLoader):
    """YAML without two of its traps: a key given twice is an error, and 1e-3 is a number."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


class _Resolver:
    """Merges overrides and checks parameters; collects all mistakes before it complains.

    Every layer is checked where it stands, so that a mistake is told once, with the key under which it was made.
    """

    def __init__(self, path: Path, file: File) -> None:
        self.path = path
        self.file = file
        self.datasets = {label: entry or DatasetEntry() for label, entry in file.datasets.items()}
        self.methods = {label: entry or MethodEntry() for label, entry in file.methods.items()}
        self.mistakes: list[str] = []

    def configuration(self) -> Configuration:
        self._check_file()
        self._check("recipe", Recipe, self.file.recipe)
        dataset_parameters = {label: self._dataset(label, entry) for label, entry in self.datasets.items()}
        models = {label: self._method(label, entry) for label, entry in self.methods.items()}
        for label, entry in self.datasets.items():
            self._check_overrides(label, entry, models)
        if not self.mistakes:  # each layer is sound; merged, only a parameter without default can still be missing
            runs = {
                (dataset, method): self._run(dataset, dataset_parameters[dataset], method, models[method])
                for dataset in self.datasets
                for method in self.methods
            }
        if self.mistakes:
            raise UserError(f"{self.path}:\n" + "\n".join(f"  {mistake}" for mistake in self.mistakes))
        return Configuration(
            experiment=self.file.experiment,
            seeds=self.file.seeds,
            reference=self.file.reference,
            latency=self.file.latency,
            dataset_kinds={label: entry.kind or label for label, entry in self.datasets.items()},
            dataset_parameters=dataset_parameters,
            method_kinds={label: entry.kind or label for label, entry in self.methods.items()},
            _runs=runs,
        )

    def _check_file(self) -> None:
        seeds = self.file.seeds
        if not seeds or len(set(seeds)) < len(seeds):
            self.mistakes.append(f"seeds: must name at least one seed and none twice, not {_shown(seeds)}.")
        for key in ("datasets", "methods"):
            if not getattr(self, key):
                self.mistakes.append(f"{key}: is empty, so there is nothing to run; name at least one.")
        if self.methods and self.file.reference not in self.methods:
            hint = _suggest(self.file.reference, tuple(self.methods))
            self.mistakes.append(f"reference: no method {self.file.reference!r}.{hint}")
        self.mistakes += [
            f"datasets.{label}: is the name of another folder of results; choose another label, and name the kind."
            for label in self.datasets
            if label in RESERVED
        ]

    def _dataset(self, label: str, entry: DatasetEntry) -> Any:
        self._check(f"datasets.{label}.recipe", Recipe, entry.recipe)
        model = self._model(f"datasets.{label}", entry.kind, label, _dataset_signatures())
        checked = None if model is None else self._check(f"datasets.{label}.parameters", model, entry.parameters)
        return None if checked is None else checked.model_dump()

    def _method(self, label: str, entry: MethodEntry) -> type[BaseModel] | None:
        self._check(f"methods.{label}.recipe", Recipe, entry.recipe)
        model = self._model(f"methods.{label}", entry.kind, label, _method_signatures())
        if model is not None:
            self._check(f"methods.{label}.parameters", model, entry.parameters, whole=False)
        return model

    def _check_overrides(self, dataset: str, entry: DatasetEntry, models: Mapping[str, type[BaseModel] | None]) -> None:
        for method, override in entry.methods.items():
            where = f"datasets.{dataset}.methods.{method}"
            self._check(f"{where}.recipe", Recipe, override.recipe)
            if method not in models:
                self.mistakes.append(f"{where}: no such method.{_suggest(method, tuple(models))}")
            elif (model := models[method]) is not None:
                self._check(f"{where}.parameters", model, override.parameters, whole=False)

    def _run(self, dataset: str, dataset_parameters: Any, method: str, model: type[BaseModel] | None) -> Run:
        data, entry = self.datasets[dataset], self.methods[method]
        override = data.methods.get(method, MethodOverride())
        parameters = self._check(f"methods.{method}.parameters", model, entry.parameters | override.parameters)
        return Run(
            experiment=self.file.experiment,
            dataset=dataset,
            method=method,
            seed=-1,
            dataset_kind=data.kind or dataset,
            dataset_parameters=dataset_parameters,
            method_kind=entry.kind or method,
            method_parameters=parameters.model_dump() if parameters is not None else {},
            recipe=Recipe.model_validate(_merge(self.file.recipe, data.recipe, entry.recipe, override.recipe)),
        )

    def _model(
        self, where: str, kind: str | None, label: str, known: Mapping[str, type[BaseModel]]
    ) -> type[BaseModel] | None:
        if kind is None and label not in known:
            self.mistakes.append(f"{where}: no kind {label!r}, and no other is named.{_suggest(label, tuple(known))}")
        elif kind is not None and kind not in known:
            self.mistakes.append(f"{where}.kind: no kind {kind!r}.{_suggest(kind, tuple(known))}")
        return known.get(kind or label)

    def _check(self, where: str, model: Any, given: dict[str, Any], whole: bool = True) -> Any:
        """`given` as the model, or None with the mistakes noted; unless `whole`, keys may still be missing."""
        try:
            return model.model_validate(given)
        except ValidationError as error:
            lines = _mistakes(error, model, where, whole)
            self.mistakes += [line for line in lines if line not in self.mistakes]
            return None


@cache
def _dataset_signatures() -> dict[str, type[BaseModel]]:
    found = {}
    for source in sorted((Path(__file__).parents[1] / "data" / "kinds").glob("*.py")):
        for node in ast.parse(source.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name == "generate":
                found[source.stem] = parameters_model(source.stem, node)
    return found


@cache
def _method_signatures() -> dict[str, type[BaseModel]]:
    found = {name: baselines.constructor(source) for name, source in baselines.method_sources().items()}
    return {name: parameters_model(name, pair[1]) for name, pair in found.items() if pair}


def _merge(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Later layers override earlier ones, key by key, also inside mappings."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            old = merged.get(key)
            merged[key] = _merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def _tuples(value: Any) -> Any:
    """YAML's lists as tuples, which is what frozen parameters are annotated with."""
    if isinstance(value, list):
        return tuple(_tuples(item) for item in value)
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return value


def _plain(value: Any) -> Any:
    """Tuples as lists and mappings as dicts, all the way down: what JSON gives back."""
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _suggest(name: Any, known: tuple[str, ...]) -> str:
    """' Did you mean ...?' where a known name is close, else the list of known names."""
    close = difflib.get_close_matches(str(name), known, n=1)
    return f" Did you mean {close[0]!r}?" if close else f" There are: {', '.join(known)}."


def _shown(value: Any) -> str:
    """What was given, as far as it is worth showing."""
    text = repr(_plain(value))
    return text if len(text) <= 80 else f"{text[:77]}..."


def _explain(error: ValidationError, model: type[BaseModel]) -> str:
    return "\n".join(f"  {line}" for line in _mistakes(error, model))


def _mistakes(error: ValidationError, model: type[BaseModel], where: str = "", whole: bool = True) -> Iterator[str]:
    """Pydantic's findings, one line each: the key, what is wrong, and what was given or probably meant."""
    for detail in error.errors():
        location = detail["loc"]
        parts = [where] * bool(where) + [str(part) or "''" for part in location if part != "[key]"]
        key = ".".join(parts)
        if detail["type"] == "extra_forbidden":
            yield f"{key}: unknown key.{_suggest(location[-1], _keys(model, location[:-1]))}"
        elif detail["type"] == "missing" and isinstance(location[-1], int):
            yield f"{key}: is missing; the list is too short."
        elif detail["type"] == "missing":
            if whole:
                yield f"{key}: is missing; add it."
        elif detail["type"] == "string_pattern_mismatch":  # only labels have a pattern
            allowed = "letters, digits, '_', '.' and '-', and begin with a letter or a digit"
            yield f"{key}: must be made of {allowed}, not {_shown(detail['input'])}."
        else:
            message = detail["msg"]
            for pydantic, plain in _PLAIN_WORDS.items():
                message = message.replace(pydantic, plain)
            yield f"{key}: {message}, not {_shown(detail['input'])}."


_PLAIN_WORDS = {
    "Value error, ": "",
    "Input should": "must",
    "Keys should be strings": "must be a text",
    "a valid tuple": "a list",
    "a valid dictionary": "a mapping",
    "a valid string": "a text",
}


def _keys(model: Any, location: tuple[int | str, ...]) -> tuple[str, ...]:
    """The keys allowed at a location inside `model`."""
    for part in location:
        field = model.model_fields.get(part) if isinstance(part, str) else None
        if field is None:  # a label: step through the mapping to its entry
            continue
        models = [item for item in _classes(field.annotation) if issubclass(item, BaseModel)]
        model = models[0] if models else model
    return tuple(model.model_fields)


def _classes(annotation: Any) -> list[type]:
    """All classes in an annotation such as `dict[str, Entry | None]`."""
    arguments = get_args(annotation)
    if not arguments:
        return [annotation] if isinstance(annotation, type) else []
    return [found for argument in arguments for found in _classes(argument)]
