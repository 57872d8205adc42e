"""The kinds of methods and datasets: those of the suite, and those from anywhere else.

In a configuration, `kind` is one of

- the name of a file of the suite: a method in `dynalay/` or `baselines/`, a dataset in `benchmark/data/kinds/`;
- the name of an entry point of an installed package, in the group `dynalay_bench.methods` or `dynalay_bench.datasets`;
- ``package.module:Class`` (``package.module:function`` for a dataset) of anything that Python can import.

Kinds are found, and their parameters read, without importing them.  The suite's own names come first: an entry point of
the same name is reached as ``package.module:Class``.  Hidden files and names that cannot be imported are passed over.
A file that is not valid Python keeps its name and is reported where it is used.
"""

import ast
import importlib
import importlib.metadata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from benchmark.errors import UserError
from benchmark.experiment.messages import suggest
from benchmark.experiment.signatures import Definition, Module, find_module, parameters_model, read_module

Sort = Literal["method", "dataset"]

#: The packages in which a file is a kind.
_PACKAGES: Mapping[Sort, tuple[str, ...]] = {"method": ("dynalay", "baselines"), "dataset": ("benchmark.data.kinds",)}
ENTRY_POINTS: Mapping[Sort, str] = {"method": "dynalay_bench.methods", "dataset": "dynalay_bench.datasets"}


@dataclass(frozen=True)
class Meaning:
    """What the parameters of a kind mean today; by this, results of older code are recognised.

    Attributes:
        version: raised by the kind's author when the same parameters give another result.
        distribution: "name version" of the package that a kind from outside the suite is installed from.
        defaults: of all parameters that have one.
        retired: parameters that no longer exist, with the value under which old results remain valid.
    """

    version: int = 1
    distribution: str | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)
    retired: Mapping[str, Any] = field(default_factory=dict)


#: Of a run that was made without a configuration.
UNSTATED = Meaning()


@dataclass(frozen=True)
class Kind:
    """A kind of method or dataset that can be used.

    Attributes:
        sort: "method" or "dataset".
        name: as configurations write it.
        definition: its class or function, unimported.
        distribution: see `Meaning`.
    """

    sort: Sort
    name: str
    definition: Definition
    distribution: str | None = None

    @cached_property
    def parameters(self) -> type[BaseModel]:
        """The schema of its parameters."""
        return parameters_model(self.name, self.definition.parameters())

    @cached_property
    def meaning(self) -> Meaning:
        """Its version and defaults, as its source states them."""
        if self.sort == "method":
            version = self.definition.attribute("version", 1)
            retired = self.definition.attribute("retired", {})
        else:
            version = self.definition.module.constant("VERSION", 1)
            retired = self.definition.module.constant("RETIRED", {})
        defaults = {name: default for name, (_, default) in self.definition.parameters().items() if default is not ...}
        return Meaning(version, self.distribution, defaults, retired)

    def load(self) -> Callable[..., Any]:
        """Import it: a method's class, or a dataset's function.

        Raises:
            UserError: something that it imports is missing.
        """
        try:
            return getattr(importlib.import_module(self.definition.module.name), self.definition.node.name)
        except ImportError as error:
            raise UserError(f"{self.sort} kind {self.name!r} cannot be imported: {error}.") from error


def find(sort: Sort, name: str) -> Kind:
    """The kind of this name.

    Raises:
        UserError: there is none, or its source has a mistake; the message says what there is.
    """
    if ":" in name:
        return _imported(sort, name, name, None)
    if (module := _modules(sort).get(name)) is not None:
        package, path = module
        if (definition := _of_file(sort, read_module(package, path))) is not None:
            return Kind(sort, name, definition)
    points = [point for point in importlib.metadata.entry_points(group=ENTRY_POINTS[sort]) if point.name == name]
    if len({point.value for point in points}) > 1:
        several = ", ".join(f"{point.value} ({_distribution(point)})" for point in points)
        raise UserError(f"several installed packages call a {sort} {name!r}: {several}; write one in full.")
    if points:
        return _imported(sort, name, points[0].value, _distribution(points[0]))
    raise UserError(f"no {sort} kind {name!r}.{suggest(name, names(sort))}")


def find_either(name: str) -> Kind:
    """The method of this name, or else the kind of dataset.

    Raises:
        UserError: there is neither, or its source has a mistake.
    """
    if ":" in name:
        found = _imported("method", name, name, None)
        is_function = isinstance(found.definition.node, ast.FunctionDef)
        return Kind("dataset", name, found.definition, found.distribution) if is_function else found
    return find("dataset" if name in names("dataset") and name not in names("method") else "method", name)


def names(sort: Sort) -> tuple[str, ...]:
    """The names of all kinds that need not be written in full."""
    own = [name for name, (module, path) in _modules(sort).items() if _may_be_kind(sort, module, path)]
    return tuple(dict.fromkeys(own + sorted(importlib.metadata.entry_points(group=ENTRY_POINTS[sort]).names)))


def _modules(sort: Sort) -> dict[str, tuple[str, Path]]:
    """(module, file) by the file's name, of all files that may be kinds."""
    return {
        path.stem: (f"{package}.{path.stem}", path)
        for package in _PACKAGES[sort]
        for path in sorted(_folder(package).glob("*.py"))
        if path.stem.isidentifier() and not path.stem.startswith("_")
    }


def _may_be_kind(sort: Sort, module: str, path: Path) -> bool:
    try:
        return _of_file(sort, read_module(module, path)) is not None
    except UserError:  # reported where it is used
        return True


def _of_file(sort: Sort, module: Module) -> Definition | None:
    """What makes a file of the suite a kind; None for a part that several share."""
    if sort == "dataset":
        return module.definition("generate")
    for node in module.tree.body:
        if not isinstance(node, ast.ClassDef) or (constructor := Definition(module, node).constructor()) is None:
            continue
        arguments = constructor.args
        has_options = bool(arguments.kwonlyargs or arguments.kwarg)  # the abstract base has none
        if has_options and [argument.arg for argument in arguments.args] == ["self", "image_shape", "classes"]:
            return Definition(module, node)
    return None


def _imported(sort: Sort, name: str, value: str, distribution: str | None) -> Kind:
    """The kind at ``package.module:Class``."""
    where, _, symbol = value.partition(":")
    module = find_module(where)
    if module is None:
        raise UserError(f"{sort} kind {name!r}: there is no module {where!r} here; is its package installed?")
    definition = module.definition(symbol)
    if definition is None:
        what = "class" if sort == "method" else "function"
        defined = tuple(node.name for node in module.tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef))
        raise UserError(f"{sort} kind {name!r}: {module.path} has no {what} {symbol!r}.{suggest(symbol, defined)}")
    return Kind(sort, name, definition, distribution or distribution_of(where))


def _distribution(point: importlib.metadata.EntryPoint) -> str:
    assert point.dist is not None
    return f"{point.dist.name} {point.dist.version}"


def distribution_of(module: str) -> str | None:
    """The installed package, other than the suite, that a module belongs to; None for a loose file."""
    top = module.partition(".")[0]
    if top in {package.partition(".")[0] for packages in _PACKAGES.values() for package in packages}:
        return None
    found = _distributions().get(top)
    return f"{found[0]} {importlib.metadata.version(found[0])}" if found else None


@cache
def _distributions() -> Mapping[str, list[str]]:
    return importlib.metadata.packages_distributions()


def _folder(package: str) -> Path:
    found = find_module(package)
    assert found is not None
    return found.path.parent
