"""What the source of a method or a dataset states: its parameters, with annotations and defaults, and its version.

Checking a configuration must be quick and must not load torch, so nothing is imported: everything is read from the
syntax tree.  Hence two rules for authors: annotations from the built-in types and `Literal`, defaults written as
literals.

A class whose constructor takes ``**options`` and passes them on to its base class has the base's parameters too, less
those that its own call of ``super().__init__`` sets.  So shared options are declared once, in the base class.
"""

import ast
import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, create_model

from benchmark.errors import UserError


@dataclass(frozen=True)
class Module:
    """A module's name and syntax tree."""

    name: str
    path: Path
    tree: ast.Module

    def definition(self, name: str) -> "Definition | None":
        """The class or function of this name, defined here or imported here from elsewhere."""
        for node in self.tree.body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
                return Definition(self, node)
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    if (alias.asname or alias.name) == name and (source := find_module(self._absolute(node))):
                        return source.definition(alias.name)
        return None

    def base(self, expression: ast.expr) -> "Definition | None":
        """The class that a base-class expression names: `Base`, `module.Base`, or either with a subscript."""
        if isinstance(expression, ast.Subscript):
            return self.base(expression.value)
        if isinstance(expression, ast.Name):
            return self.definition(expression.id)
        if isinstance(expression, ast.Attribute):
            source = find_module(self._imported(ast.unparse(expression.value)))
            return source.definition(expression.attr) if source else None
        return None

    def _absolute(self, node: ast.ImportFrom) -> str:
        package = self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]
        return importlib.util.resolve_name("." * node.level + (node.module or ""), package or None)

    def _imported(self, name: str) -> str:
        """The full name of the module that this one calls `name`."""
        for node in self.tree.body:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    if alias.asname == name:
                        return alias.name
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    if (alias.asname or alias.name) == name:
                        return f"{self._absolute(node)}.{alias.name}"
        return name

    def constant(self, name: str, default: Any) -> Any:
        """The literal that the module assigns to `name`, else `default`."""
        return _assigned(self.tree.body, name, default, self.path)


@dataclass(frozen=True)
class Definition:
    """A class or a function, and the module that defines it."""

    module: Module
    node: ast.ClassDef | ast.FunctionDef

    def parameters(self) -> dict[str, tuple[Any, Any]]:
        """(annotation, default) of every keyword-only parameter; the default is `...` where there is none.

        Raises:
            UserError: an annotation or a default is not of the permitted kind.
        """
        if isinstance(self.node, ast.FunctionDef):
            return _keyword_only(self.module, self.node)
        constructor = self.constructor()
        if constructor is None:
            return next((base.parameters() for base in self.bases()), {})
        own = _keyword_only(self.module, constructor)
        if constructor.args.kwarg is None:
            return own
        inherited: dict[str, tuple[Any, Any]] = {}
        for base in self.bases():
            inherited = base.parameters() | inherited
        taken = _passed_to_base(constructor) | {argument.arg for argument in constructor.args.args}
        return own | {name: field for name, field in inherited.items() if name not in own and name not in taken}

    def constructor(self) -> ast.FunctionDef | None:
        """The class's own `__init__`."""
        found = (item for item in self.node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__")
        return next(found, None)

    def bases(self) -> Iterator["Definition"]:
        """The base classes whose sources can be found."""
        for expression in self.node.bases if isinstance(self.node, ast.ClassDef) else ():
            if (base := self.module.base(expression)) is not None:
                yield base

    def attribute(self, name: str, default: Any) -> Any:
        """The literal that the class, or the nearest base class, assigns to `name`; else `default`."""
        missing = object()
        if (own := _assigned(self.node.body, name, missing, self.module.path)) is not missing:
            return own
        inherited = (base.attribute(name, missing) for base in self.bases())
        return next((value for value in inherited if value is not missing), default)


def parameters_model(name: str, parameters: dict[str, tuple[Any, Any]]) -> type[BaseModel]:
    """A pydantic model of the parameters: unknown keys are errors, and types are not converted."""
    fields: dict[str, Any] = parameters
    return create_model(name, __config__=ConfigDict(extra="forbid", strict=True, allow_inf_nan=False), **fields)


def find_module(name: str) -> Module | None:
    """The module of this name, located and parsed but not imported; nor are the packages that hold it.

    Raises:
        UserError: its source is not valid Python.
    """
    path: Any = None
    spec = None
    parts = name.split(".")
    if not all(part.isidentifier() for part in parts):
        return None
    for end in range(1, len(parts) + 1):
        finders = [finder for finder in sys.meta_path if hasattr(finder, "find_spec")]
        found = (finder.find_spec(".".join(parts[:end]), path) for finder in finders)
        spec = next((spec for spec in found if spec is not None), None)
        if spec is None:
            return None
        path = spec.submodule_search_locations
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    return read_module(name, Path(spec.origin))


def read_module(name: str, path: Path) -> Module:
    """The module in the file at `path`.

    Raises:
        UserError: it cannot be read, or is not valid Python.
    """
    return Module(name, path, _tree(path, path.stat().st_mtime_ns))


@cache
def _tree(path: Path, changed: int) -> ast.Module:
    try:
        return ast.parse(path.read_bytes(), str(path))
    except SyntaxError as error:
        raise UserError(f"{path}, line {error.lineno}: {error.msg}.") from None
    except ValueError as error:  # a null byte
        raise UserError(f"{path} is not Python source: {error}.") from None


def _keyword_only(module: Module, function: ast.FunctionDef) -> dict[str, tuple[Any, Any]]:
    fields: dict[str, tuple[Any, Any]] = {}
    for argument, default in zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True):
        try:
            annotation = eval(ast.unparse(argument.annotation), {"Literal": Literal})  # type: ignore[arg-type]
            fields[argument.arg] = (annotation, ... if default is None else ast.literal_eval(default))
        except (NameError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f"{module.path}, line {argument.lineno}: parameter {argument.arg!r} needs an annotation of built-in "
                f"types or Literal, and a literal default ({error})."
            ) from error
    return fields


def _passed_to_base(constructor: ast.FunctionDef) -> set[str]:
    """The keywords that the constructor itself gives to ``super().__init__``."""
    return {
        keyword.arg
        for call in ast.walk(constructor)
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "super().__init__"
        for keyword in call.keywords
        if keyword.arg
    }


def _assigned(body: list[ast.stmt], name: str, default: Any, path: Path) -> Any:
    for node in body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            try:
                return ast.literal_eval(node.value)  # type: ignore[attr-defined]
            except (AttributeError, TypeError, ValueError):  # declared without a value, or not a literal
                raise UserError(f"{path}, line {node.lineno}: {name} must be a literal.") from None
    return default
