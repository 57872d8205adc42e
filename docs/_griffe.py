"""Docstrings have sections `Example:`; Griffe knows them as `Examples:`."""

import re
from typing import Any

import griffe


class ExampleSections(griffe.Extension):
    """Sets a docstring's examples as code, with their title above."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rename the section, as long as the docstring is still text."""
        if obj.docstring:
            text = re.sub(r"^( *)Example: *(?=\S)", r"\1Examples: Example: ", obj.docstring.value, flags=re.MULTILINE)
            obj.docstring.value = re.sub(r"^( *)Example: *$", r"\1Examples:", text, flags=re.MULTILINE)
