"""The methods of the suite: DynaLay's peers here, DynaLay itself in its own package.

A method is one file that defines a class with ``__init__(self, image_shape, classes, *, parameters...)``; the file's
name is its name in configurations.  A new method is one new file in this package; nothing else needs editing.
"""

import ast
import importlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what is installed can be listed, and configurations checked, without loading torch
    from dynalay.classifier import AdaptiveClassifier

_PACKAGES = ("dynalay", __name__)


def constructor(source: Path) -> tuple[str, ast.FunctionDef] | None:
    """The name and the constructor of the class that makes a file a method; None if it is a shared part."""
    for node in ast.parse(source.read_text()).body:
        if not isinstance(node, ast.ClassDef):
            continue
        for item in node.body:
            if (
                isinstance(item, ast.FunctionDef)
                and item.name == "__init__"
                and (item.args.kwonlyargs or item.args.kwarg)  # the abstract base has none
                and [argument.arg for argument in item.args.args] == ["self", "image_shape", "classes"]
            ):
                return node.name, item
    return None


def method_sources() -> dict[str, Path]:
    """The file of every method, by the method's name."""
    sources: dict[str, Path] = {}
    for package in _PACKAGES:
        spec = importlib.util.find_spec(package)
        folder = Path(spec.origin).parent  # type: ignore[union-attr, arg-type]
        sources |= {file.stem: file for file in sorted(folder.glob("*.py")) if constructor(file)}
    return sources


def find_method(name: str) -> "type[AdaptiveClassifier]":
    """The class of the method of this name; only its own file is imported.

    Raises:
        KeyError: no file defines it; the message lists those that exist.
    """
    sources = method_sources()
    if name not in sources:
        raise KeyError(f"no method {name!r}; there are {', '.join(sources)}")
    found = constructor(sources[name])
    assert found is not None  # it was listed because it has one
    return getattr(importlib.import_module(f"{sources[name].parent.name}.{name}"), found[0])


def all_methods() -> "dict[str, type[AdaptiveClassifier]]":
    """Every method's class, by name."""
    return {name: find_method(name) for name in method_sources()}
