"""Models as folders: what a model was built from in ``config.json``, its weights in ``model.safetensors``.

The only module of this package that touches files.
"""

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

CONFIG, WEIGHTS = "config.json", "model.safetensors"


T = TypeVar("T", bound="Pretrained")


class PretrainedError(ValueError):
    """A model cannot be written to a folder, or a folder is not a model of the class that is asked for."""


class Pretrained(nn.Module):
    """A module that remembers what it was built from, so that a folder can hold it whole.

    A subclass has an integer class attribute ``version``, as `dynalay.classifier.AdaptiveClassifier` says.
    """

    _construction: tuple[tuple[Any, ...], dict[str, Any]]

    def __new__(cls: type[T], *args: Any, **parameters: Any) -> T:
        """Remember the arguments before any `__init__` sees them; copies get them with the rest of their state."""
        instance = super().__new__(cls)
        object.__setattr__(instance, "_construction", (args, parameters))
        return instance

    def save_pretrained(self, folder: str | Path) -> None:
        """Write ``config.json`` and ``model.safetensors`` into `folder`, which is made if it is missing.

        Raises:
            PretrainedError: see `construction`.
        """
        text, folder = self.construction(), Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        save_file({key: value.detach().contiguous() for key, value in self.state_dict().items()}, folder / WEIGHTS)
        (folder / CONFIG).write_text(text)

    def construction(self) -> str:
        """The text of ``config.json``: class, version and arguments.

        Raises:
            PretrainedError: an argument that the model was built from is not made of numbers, strings, None, lists,
                tuples and dictionaries; save its `state_dict` in that case, and build it in code.
        """
        try:
            described = _described(type(self)) | {"arguments": _arguments(self)}
            return json.dumps(described, indent=2, allow_nan=False) + "\n"
        except (TypeError, ValueError) as error:
            raise PretrainedError(
                f"{_name(type(self))} was built from what JSON cannot hold ({error}): save its state_dict() instead"
            ) from None

    @classmethod
    def from_pretrained(cls: type[T], folder: str | Path) -> T:
        """A model of this class, or of a subclass, in evaluation mode on the CPU, in the precision it was saved in.

        Nothing is imported or executed that the folder names: its class must be loaded already, and be `cls` or derived
        from it.

        Raises:
            PretrainedError: the folder holds no such model, or one that this version of its class cannot restore.
        """
        folder = Path(folder)
        try:
            config = json.loads((folder / CONFIG).read_text())
            weights = load_file(folder / WEIGHTS)
        except FileNotFoundError as error:
            raise PretrainedError(f"{folder} is not a saved model: {error.filename or error} is missing") from None
        except (json.JSONDecodeError, UnicodeDecodeError, SafetensorError) as error:
            raise PretrainedError(f"{folder} is corrupt: {error}") from None
        try:
            named, version, arguments = config["class"], config["version"], dict(_tuples(config["arguments"]))
        except (KeyError, TypeError, ValueError):
            raise PretrainedError(f"{folder / CONFIG} needs the keys class, version and arguments") from None
        kind = next((each for each in _family(cls) if _name(each) == named), None)
        if kind is None:
            raise PretrainedError(
                f"{folder} holds a {named}, which is not {cls.__name__} or a loaded subclass of it: import that class "
                "and call its from_pretrained"
            )
        if version != _described(kind)["version"]:
            raise PretrainedError(
                f"{folder} was written by version {version} of {named}; this is version {_described(kind)['version']}"
            )
        try:
            model = kind(**arguments)
            # The types first: loading copies into what is there.
            model.to(next((each.dtype for each in weights.values() if each.is_floating_point()), torch.float32))
            model.load_state_dict(weights)
        except (TypeError, ValueError, RuntimeError) as error:
            raise PretrainedError(f"{folder} does not fit {named}: {error}") from error
        return model.eval()


def _arguments(model: Pretrained) -> dict[str, Any]:
    """All arguments by name, with the defaults that the constructor's signature shows."""
    args, parameters = model._construction
    signature = inspect.signature(type(model).__init__)
    bound = signature.bind(model, *args, **parameters)
    bound.apply_defaults()
    arguments: dict[str, Any] = {}
    for name in list(bound.arguments)[1:]:  # without self
        if signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
            arguments |= bound.arguments[name]
        else:
            arguments[name] = bound.arguments[name]
    return arguments


def _described(kind: type[Pretrained]) -> dict[str, Any]:
    return {"class": _name(kind), "version": getattr(kind, "version", 1)}


def _name(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


def _family(kind: type[T]) -> Iterator[type[T]]:
    """A class and all that are derived from it."""
    yield kind
    for derived in kind.__subclasses__():
        yield from _family(derived)


def _tuples(value: Any) -> Any:
    """JSON's lists as tuples, which is what constructors take."""
    if isinstance(value, dict):
        return {key: _tuples(each) for key, each in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
