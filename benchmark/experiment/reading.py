"""A configuration's YAML as plain values."""

import re
from pathlib import Path
from typing import Any

import yaml

from benchmark.errors import UserError
from benchmark.experiment.schema import File


def read(path: Path) -> dict[Any, Any]:
    """The mapping in a configuration file, its lists as tuples.

    Raises:
        UserError: the file cannot be read, or is not YAML, or holds something else.
    """
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


def _tuples(value: Any) -> Any:
    """YAML's lists as tuples, which is what frozen parameters are annotated with."""
    if isinstance(value, list):
        return tuple(_tuples(item) for item in value)
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return value
