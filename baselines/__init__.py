"""The methods of the suite: DynaLay and its peers.

A new method is one new file in this package that defines one subclass of `AdaptiveClassifier`; its name in
configurations is the file's name.  Nothing else needs editing.
"""

import importlib
import pkgutil

from dynalay.classifier import AdaptiveClassifier

_DYNALAY = {"dynalay": "dynalay.model"}


def _modules() -> dict[str, str]:
    """Candidate modules by the name a configuration would use."""
    return _DYNALAY | {module.name: f"{__name__}.{module.name}" for module in pkgutil.iter_modules(__path__)}


def _class_in(module_name: str) -> type[AdaptiveClassifier] | None:
    """The one classifier that a module defines itself (not imports), or None: a shared part is no method."""
    module = importlib.import_module(module_name)
    found = [
        item
        for item in vars(module).values()
        if isinstance(item, type) and issubclass(item, AdaptiveClassifier) and item.__module__ == module_name
    ]
    if len(found) > 1:
        raise TypeError(f"{module_name} defines {len(found)} methods ({', '.join(c.__name__ for c in found)}); one a file")
    return found[0] if found else None


def find_method(name: str) -> type[AdaptiveClassifier]:
    """The method class of this name; only its own file is imported.

    Raises:
        KeyError: no file defines it; the message lists those that exist.
    """
    modules = _modules()
    method = _class_in(modules[name]) if name in modules else None
    if method is None:
        raise KeyError(f"no method {name!r}; there are {', '.join(all_methods())}")
    return method


def all_methods() -> dict[str, type[AdaptiveClassifier]]:
    """Every method, by name."""
    found = {name: _class_in(module) for name, module in _modules().items()}
    return {name: method for name, method in found.items() if method is not None}
