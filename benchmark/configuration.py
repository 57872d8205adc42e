"""An experiment's configuration: read, checked, and resolved into runs, without loading torch.

Every key is checked before anything runs.  Parameters of methods and datasets are checked against the signatures in
their sources (`benchmark.signatures`), so a new method brings its own schema along.
"""

import ast
import difflib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

import baselines
from benchmark.errors import UserError
from benchmark.signatures import parameters_model

#: Labels become folder names and Snakemake wildcards.
Label = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
Positive = Annotated[int, Field(ge=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


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
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    precision: Literal["float32", "bfloat16"] = "float32"
    augmentation: Augmentation = Augmentation()


class _MethodEntry(_Strict):
    kind: str | None = None
    parameters: dict[str, Any] = {}
    recipe: dict[str, Any] = {}


class _DatasetEntry(_Strict):
    kind: str | None = None
    parameters: dict[str, Any] = {}
    recipe: dict[str, Any] = {}
    methods: dict[Label, _MethodEntry] = {}


class _File(_Strict):
    experiment: Label
    seeds: Positive | tuple[Annotated[int, Field(ge=0)], ...]
    reference: Label
    recipe: dict[str, Any] = {}
    datasets: dict[Label, _DatasetEntry | None]
    methods: dict[Label, _MethodEntry | None]


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
        dataset_kinds, dataset_parameters: by dataset label, resolved.
        method_kinds: by method label.
    """

    experiment: str
    seeds: tuple[int, ...]
    reference: str
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
        raise UserError(f"{kind} needs parameters from a configuration (--config):\n{_explain(error, signatures[kind])}") from None


def load(path: Path | str) -> Configuration:
    """Read and check a configuration.

    Raises:
        UserError: one message that lists every mistake with its key and a remedy.
    """
    path = Path(path)
    try:
        file = _File.model_validate(_read(path))
    except ValidationError as error:
        raise UserError(f"{path}:\n{_explain(error, _File)}") from None
    return _Resolver(path, file).configuration()


def _read(path: Path) -> Any:
    try:
        content = yaml.load(path.read_text(), Loader=_UniqueKeys)
    except OSError as error:
        raise UserError(f"Cannot read the configuration {path}: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise UserError(f"The configuration {path} is not a text file in UTF-8.") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise UserError(f"The configuration {path} is not valid YAML: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"The configuration {path} must be a mapping with the keys {', '.join(_File.model_fields)}.")
    return _tuples(content)


class _UniqueKeys(yaml.SafeLoader):
    """YAML in which a key given twice is an error, where YAML itself silently takes the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


class _Resolver:
    """Merges overrides and checks parameters; collects all mistakes before it complains."""

    def __init__(self, path: Path, file: _File) -> None:
        self.path = path
        self.file = file
        self.mistakes: list[str] = []
        self.dataset_signatures = _dataset_signatures()
        self.method_signatures = _method_signatures()

    def configuration(self) -> Configuration:
        file = self.file
        seeds = tuple(range(file.seeds)) if isinstance(file.seeds, int) else file.seeds
        if not seeds or len(set(seeds)) < len(seeds):
            self.mistakes.append(f"seeds: must name at least one seed and none twice, not {list(seeds)}.")
        for key in ("datasets", "methods"):
            if not getattr(file, key):
                self.mistakes.append(f"{key}: is empty, so there is nothing to run; name at least one.")
        if file.methods and file.reference not in file.methods:
            known = tuple(file.methods)
            self.mistakes.append(f"reference: no method {file.reference!r}.{_suggest(file.reference, known)}")
        datasets = {label: entry or _DatasetEntry() for label, entry in file.datasets.items()}
        methods = {label: entry or _MethodEntry() for label, entry in file.methods.items()}
        runs = {
            (dataset, method): run
            for dataset in datasets
            for method in methods
            if (run := self._run(dataset, datasets[dataset], method, methods[method])) is not None
        }
        if self.mistakes:
            raise UserError(f"{self.path}:\n" + "\n".join(f"  {mistake}" for mistake in dict.fromkeys(self.mistakes)))
        return Configuration(
            experiment=file.experiment,
            seeds=seeds,
            reference=file.reference,
            dataset_kinds={label: entry.kind or label for label, entry in datasets.items()},
            dataset_parameters={dataset: run.dataset_parameters for (dataset, _), run in runs.items()},
            method_kinds={label: entry.kind or label for label, entry in methods.items()},
            _runs=runs,
        )

    def _run(self, dataset: str, data: _DatasetEntry, method: str, entry: _MethodEntry) -> Run | None:
        for label in data.methods:
            if label not in self.file.methods:
                hint = _suggest(label, tuple(self.file.methods))
                self.mistakes.append(f"datasets.{dataset}.methods.{label}: no such method.{hint}")
        override = data.methods.get(method, _MethodEntry())
        if override.kind is not None:
            self.mistakes.append(
                f"datasets.{dataset}.methods.{method}.kind: belongs to methods.{method}; remove it here."
            )
        dataset_parameters = self._parameters(
            f"datasets.{dataset}", data.kind or dataset, self.dataset_signatures, data.parameters
        )
        method_parameters = self._parameters(
            f"methods.{method}" if method not in data.methods else f"datasets.{dataset}.methods.{method}",
            entry.kind or method,
            self.method_signatures,
            entry.parameters | override.parameters,
        )
        recipe = self._checked(
            f"the recipe of {dataset}/{method}",
            Recipe,
            _merge(self.file.recipe, data.recipe, entry.recipe, override.recipe),
        )
        if dataset_parameters is None or method_parameters is None or recipe is None:
            return None
        return Run(
            experiment=self.file.experiment,
            dataset=dataset,
            method=method,
            seed=-1,
            dataset_kind=data.kind or dataset,
            dataset_parameters=dataset_parameters,
            method_kind=entry.kind or method,
            method_parameters=method_parameters,
            recipe=recipe,
        )

    def _parameters(self, where: str, kind: str, known: Mapping[str, type[BaseModel]], given: dict[str, Any]) -> Any:
        if kind not in known:
            self.mistakes.append(f"{where}: no kind {kind!r}.{_suggest(kind, tuple(known))}")
            return None
        checked = self._checked(f"{where}.parameters", known[kind], given)
        return None if checked is None else checked.model_dump()

    def _checked(self, where: str, model: type[BaseModel], given: dict[str, Any]) -> Any:
        try:
            return model.model_validate(given)
        except ValidationError as error:
            self.mistakes.append(f"{where}:\n{_explain(error, model)}")
            return None


def _dataset_signatures() -> dict[str, type[BaseModel]]:
    found = {}
    for source in sorted((Path(__file__).parent / "data" / "kinds").glob("*.py")):
        for node in ast.parse(source.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name == "generate":
                found[source.stem] = parameters_model(source.stem, node)
    return found


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


def _explain(error: ValidationError, model: type[BaseModel]) -> str:
    """Pydantic's findings, one line each: the key, what is wrong, and what was given or probably meant."""
    lines = []
    for detail in error.errors():
        key = ".".join(str(part) for part in detail["loc"])
        if detail["type"] == "extra_forbidden":
            lines.append(f"  {key}: unknown key.{_suggest(detail['loc'][-1], _keys(model, detail['loc'][:-1]))}")
        elif detail["type"] == "missing":
            lines.append(f"  {key}: is missing; add it.")
        else:
            lines.append(f"  {key}: {detail['msg']}, not {_plain(detail['input'])!r}.")
    return "\n".join(dict.fromkeys(lines))


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
