"""Mistakes in a configuration as messages: the key, what is wrong, and a suggestion."""

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError


def suggest(name: Any, known: tuple[str, ...]) -> str:
    """' Did you mean ...?' where a known name is close, else the list of known names."""
    close = difflib.get_close_matches(str(name), known, n=1)
    return f" Did you mean {close[0]!r}?" if close else f" There are: {', '.join(known)}."


def shown(value: Any) -> str:
    """What was given, as far as it is worth showing."""
    text = repr(plain(value))
    return text if len(text) <= 80 else f"{text[:77]}..."


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """All findings, one indented line each."""
    return "\n".join(f"  {line}" for line in mistakes(error, model))


def mistakes(error: ValidationError, model: type[BaseModel], where: str = "", whole: bool = True) -> Iterator[str]:
    """Pydantic's findings, one line each: the key, what is wrong, and what was given or probably meant."""
    for detail in error.errors():
        location = detail["loc"]
        parts = [where] * bool(where) + [str(part) or "''" for part in location if part != "[key]"]
        key = ".".join(parts)
        if detail["type"] == "extra_forbidden":
            yield f"{key}: unknown key.{suggest(location[-1], _keys(model, location[:-1]))}"
        elif detail["type"] == "missing" and isinstance(location[-1], int):
            yield f"{key}: is missing; the list is too short."
        elif detail["type"] == "missing":
            if whole:
                yield f"{key}: is missing; add it."
        elif detail["type"] == "string_pattern_mismatch":  # only labels have a pattern
            allowed = "letters, digits, '_', '.' and '-', and begin with a letter or a digit"
            yield f"{key}: must be made of {allowed}, not {shown(detail['input'])}."
        else:
            message = detail["msg"]
            for pydantic, plain in _PLAIN_WORDS.items():
                message = message.replace(pydantic, plain)
            yield f"{key}: {message}, not {shown(detail['input'])}."


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


def plain(value: Any) -> Any:
    """Tuples as lists and mappings as dicts, all the way down: what JSON gives back."""
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return value
