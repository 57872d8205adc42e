"""Parameters of a method or a dataset, read from its source.

Checking a configuration must be quick and must not load torch, so nothing is imported: keyword-only arguments, with
their annotations and defaults, are read from the syntax tree.  Hence two rules for authors: annotations from the
built-in types and `Literal`, defaults written as literals.
"""

import ast
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, create_model


def parameters_model(name: str, function: ast.FunctionDef) -> type[BaseModel]:
    """A pydantic model of the keyword-only parameters of `function`: unknown keys are errors, types not converted."""
    fields: dict[str, Any] = {}
    for argument, default in zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True):
        try:
            annotation = eval(ast.unparse(argument.annotation), {"Literal": Literal})  # type: ignore[arg-type]
            fields[argument.arg] = (annotation, ... if default is None else ast.literal_eval(default))
        except (NameError, TypeError, ValueError, AttributeError) as error:
            raise TypeError(
                f"{name}, line {argument.lineno}: parameter {argument.arg!r} needs an annotation of built-in types or "
                f"Literal, and a literal default ({error})"
            ) from error
    return create_model(name, __config__=ConfigDict(extra="forbid", strict=True, allow_inf_nan=False), **fields)
