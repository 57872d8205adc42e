"""One file a page: the template filled in, with the style and the scripts written into it."""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

_HERE = Path(__file__).parent
_LIBRARY = _HERE / "vendor" / "chart.umd.min.js"


def fill(template: str, scripts: tuple[str, ...], **values: Any) -> str:
    """The page of a template, as HTML.

    Args:
        template: its name in `templates/`.
        scripts: names in `scripts/`, in the order in which they run; "vendor" is the chart library.
        values: what the template names.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE / "templates"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["json"] = as_json
    sources = (_library() if name == "vendor" else _text(f"scripts/{name}.js") for name in scripts)
    return environment.get_template(template).render(css=_text("page.css"), scripts="\n".join(sources), **values)


def as_json(value: Any) -> str:
    """JSON that may stand in a script element: no text of a result can end it, or begin markup."""
    text = json.dumps(plain(value), separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def plain(value: Any) -> Any:
    """`value` with NaN and infinities, which JSON does not know, as null."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def library_version() -> str:
    """The version of the chart library."""
    found = re.search(r"Chart\.js v([\d.]+)", _LIBRARY.read_text(encoding="utf-8"))
    return found[1] if found else ""


def _library() -> str:
    # Developer tools would look for the source map beside the page.
    return re.sub(r"^//# sourceMappingURL=.*$", "", _LIBRARY.read_text(encoding="utf-8"), flags=re.MULTILINE)


def _text(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")
