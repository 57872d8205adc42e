"""An experiment's configuration, checked and resolved into runs, without loading torch.

Every key is checked before anything runs.  Parameters of methods and datasets are checked against their sources
(`benchmark.experiment.signatures`), so a new method brings its own schema along.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from benchmark.errors import UserError
from benchmark.experiment import kinds
from benchmark.experiment.ground import stand
from benchmark.experiment.kinds import Kind, Sort
from benchmark.experiment.messages import explain, mistakes, shown, suggest
from benchmark.experiment.reading import read
from benchmark.experiment.runs import Run
from benchmark.experiment.schema import DatasetEntry, File, MethodEntry, MethodOverride, Recipe
from benchmark.experiment.tuned import Tuned, read_tuned

#: Folders beside the datasets' in an experiment's results: no dataset can have these names.
RESERVED = ("figures", "logs", "summary", "tables", "tuning")


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
        method_parameters: by method label, as the experiment writes them for all datasets.
        tuned: the tuned settings that the experiment names, which are part of its runs.
        title, question: what the experiment is called and asks, for its pages; may be empty.
    """

    experiment: str
    seeds: tuple[int, ...]
    reference: str
    latency: bool
    dataset_kinds: Mapping[str, str]
    dataset_parameters: Mapping[str, Mapping[str, Any]]
    method_kinds: Mapping[str, str]
    method_parameters: Mapping[str, Mapping[str, Any]]
    tuned: Tuned | None
    _runs: Mapping[tuple[str, str], Run]
    title: str = ""
    question: str = ""

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
            raise UserError(f"experiment {self.experiment!r} has no {what} {label!r}.{suggest(label, known)}")


def dataset_defaults(name: str) -> Mapping[str, Any]:
    """The parameters of a kind of dataset that no configuration mentions.

    Raises:
        UserError: there is no such kind, or it has a parameter without default.
    """
    model = kinds.find("dataset", name).parameters
    try:
        return model().model_dump()
    except ValidationError as error:
        raise UserError(f"{name} needs parameters from a configuration (--config):\n{explain(error, model)}") from None


def load(path: Path | str, tuned: bool = True) -> Configuration:
    """Read and check a configuration.

    Args:
        path: of its file.
        tuned: whether tuned settings that it names enter its runs; tuning itself starts from the runs without them.

    Raises:
        UserError: one message that lists every mistake with its key and a remedy.
    """
    path = Path(path)
    try:
        file = File.model_validate(read(path))
    except ValidationError as error:
        raise UserError(f"{path}:\n{explain(error, File)}") from None
    return _Resolver(path, file, tuned).configuration()


class _Resolver:
    """Merges overrides and checks parameters; collects all mistakes before it complains.

    Every layer is checked where it stands, so that a mistake is reported once, with the key under which it was made.
    """

    def __init__(self, path: Path, file: File, tuned: bool) -> None:
        self.path = path
        self.file = file
        self.tuned: Tuned | None = None
        self.wants_tuned = tuned and file.tuned is not None
        self.datasets = {label: entry or DatasetEntry() for label, entry in file.datasets.items()}
        self.methods = {label: entry or MethodEntry() for label, entry in file.methods.items()}
        self.mistakes: list[str] = []

    def configuration(self) -> Configuration:
        self._check_file()
        if self.wants_tuned:
            self._read_tuned()
        self._check("recipe", Recipe, self.file.recipe)
        datasets = {label: self._dataset(label, entry) for label, entry in self.datasets.items()}
        methods = {label: self._method(label, entry) for label, entry in self.methods.items()}
        for label, entry in self.datasets.items():
            self._check_overrides(label, entry, methods)
            self._check_ground(label, entry, methods)
        runs = {}
        if not self.mistakes:  # each layer is sound; merged, only a parameter without default can still be missing
            for dataset, of_dataset in datasets.items():
                for method, of_method in methods.items():
                    if (run := self._run(dataset, method, of_dataset, of_method)) is not None:
                        runs[dataset, method] = run
        if self.mistakes:
            raise UserError(f"{self.path}:\n" + "\n".join(f"  {mistake}" for mistake in self.mistakes))
        return Configuration(
            experiment=self.file.experiment,
            seeds=self.file.seeds,
            reference=self.file.reference,
            latency=self.file.latency,
            dataset_kinds={label: entry.kind or label for label, entry in self.datasets.items()},
            dataset_parameters={dataset: run.dataset_parameters for (dataset, _), run in runs.items()},
            method_kinds={label: entry.kind or label for label, entry in self.methods.items()},
            method_parameters={label: entry.parameters for label, entry in self.methods.items()},
            tuned=self.tuned,
            _runs=runs,
            title=self.file.title,
            question=self.file.question,
        )

    def _check_file(self) -> None:
        seeds = self.file.seeds
        if not seeds or len(set(seeds)) < len(seeds):
            self.mistakes.append(f"seeds: must name at least one seed and none twice, not {shown(seeds)}.")
        for key in ("datasets", "methods"):
            if not getattr(self, key):
                self.mistakes.append(f"{key}: is empty, so there is nothing to run; name at least one.")
        if self.methods and self.file.reference not in self.methods:
            hint = suggest(self.file.reference, tuple(self.methods))
            self.mistakes.append(f"reference: no method {self.file.reference!r}.{hint}")
        self.mistakes += [
            f"datasets.{label}: is the name of another folder of results; choose another label, and name the kind."
            for label in self.datasets
            if label in RESERVED
        ]
        self.mistakes += [
            f"datasets.{label}.tuned_as: no dataset {entry.tuned_as!r}.{suggest(entry.tuned_as, tuple(self.datasets))}"
            for label, entry in self.datasets.items()
            if entry.tuned_as is not None and entry.tuned_as not in self.datasets
        ]

    def _dataset(self, label: str, entry: DatasetEntry) -> Kind | None:
        self._check(f"datasets.{label}.recipe", Recipe, entry.recipe)
        kind = self._kind("dataset", f"datasets.{label}", label, entry.kind)
        if kind is not None:
            self._check(f"datasets.{label}.parameters", kind.parameters, entry.parameters)
        return kind

    def _method(self, label: str, entry: MethodEntry) -> Kind | None:
        self._check(f"methods.{label}.recipe", Recipe, entry.recipe)
        kind = self._kind("method", f"methods.{label}", label, entry.kind)
        if kind is not None:
            self._check(f"methods.{label}.parameters", kind.parameters, entry.parameters, whole=False)
        return kind

    def _kind(self, sort: Sort, where: str, label: str, given: str | None) -> Kind | None:
        try:
            kind = kinds.find(sort, label if given is None else given)
            _ = kind.parameters, kind.meaning  # a mistake in the source shows here
        except UserError as error:
            self.mistakes.append(f"{where}: {error}" if given is None else f"{where}.kind: {error}")
            return None
        return kind

    def _check_overrides(self, dataset: str, entry: DatasetEntry, methods: Mapping[str, Kind | None]) -> None:
        for method, override in entry.methods.items():
            where = f"datasets.{dataset}.methods.{method}"
            self._check(f"{where}.recipe", Recipe, override.recipe)
            if method not in methods:
                self.mistakes.append(f"{where}: no such method.{suggest(method, tuple(methods))}")
            elif (kind := methods[method]) is not None:
                self._check(f"{where}.parameters", kind.parameters, override.parameters, whole=False)

    def _check_ground(self, dataset: str, entry: DatasetEntry, methods: Mapping[str, Kind | None]) -> None:
        """Every key must be some method's; values are checked for each method that is given them."""
        known = {key: None for kind in methods.values() if kind for key in kind.parameters.model_fields}
        for key in entry.ground:
            if key not in known and None not in methods.values():
                hint = suggest(key, tuple(known))
                self.mistakes.append(f"datasets.{dataset}.ground.{key}: no method has this parameter.{hint}")

    def _run(self, dataset: str, method: str, of_dataset: Kind | None, of_method: Kind | None) -> Run | None:
        """One run of the grid, its seed open; None with the mistake noted."""
        assert of_dataset is not None  # else a mistake was noted
        assert of_method is not None
        data, entry = self.datasets[dataset], self.methods[method]
        override = data.methods.get(method, MethodOverride())
        own = entry.parameters | override.parameters
        ground = stand(data.ground, of_method.parameters.model_fields, own)
        where = f"datasets.{dataset}.ground (for {method})"
        if self._check(where, of_method.parameters, dict(ground.shared), whole=False) is None and self.mistakes:
            return None
        parameters = self._check(f"methods.{method}.parameters", of_method.parameters, dict(ground.shared) | own)
        if parameters is None:
            return None
        run = Run(
            experiment=self.file.experiment,
            dataset=dataset,
            method=method,
            seed=-1,
            dataset_kind=data.kind or dataset,
            dataset_parameters=of_dataset.parameters.model_validate(data.parameters).model_dump(),
            method_kind=entry.kind or method,
            method_parameters=parameters.model_dump(),
            recipe=Recipe.model_validate(_merge(self.file.recipe, data.recipe, entry.recipe, override.recipe)),
            dataset_meaning=of_dataset.meaning,
            method_meaning=of_method.meaning,
            ground=ground,
        )
        return self._tuned(run, of_method)

    def _tuned(self, run: Run, kind: Kind) -> Run:
        """The run with what tuning chose for it; mistakes are noted."""
        dataset = self.datasets[run.dataset].tuned_as or run.dataset
        if self.tuned is None or (choice := self.tuned.choice(dataset, run.method)) is None:
            return run
        self.mistakes += self.tuned.outdated(run, choice)
        where = f"tuned: {self.tuned.path}: datasets.{dataset}.methods.{run.method}"
        recipe = self._check(f"{where}.recipe", Recipe, choice.recipe)
        parameters = self._check(f"{where}.parameters", kind.parameters, choice.parameters, whole=False)
        return (
            run
            if self.mistakes or recipe is None or parameters is None
            else run.changed(choice.recipe, choice.parameters)
        )

    def _read_tuned(self) -> None:
        """The tuned settings that the file names, relative to itself; mistakes are noted."""
        try:
            self.tuned = read_tuned(self.path.parent / str(self.file.tuned))
        except UserError as error:
            self.mistakes.append(str(error))

    def _check(self, where: str, model: Any, given: dict[str, Any], whole: bool = True) -> Any:
        """`given` as the model, or None with the mistakes noted; unless `whole`, keys may still be missing."""
        try:
            return model.model_validate(given)
        except ValidationError as error:
            lines = mistakes(error, model, where, whole)
            self.mistakes += [line for line in lines if line not in self.mistakes]
            return None


def _merge(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Later layers override earlier ones, key by key, also inside mappings."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            old = merged.get(key)
            merged[key] = _merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged
