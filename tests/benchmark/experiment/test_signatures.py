"""Parameters, versions and retired parameters, read from sources and along base classes without importing anything."""

import sys
from pathlib import Path

import pytest

from benchmark.errors import UserError
from benchmark.experiment.signatures import find_module, read_module


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package `somebodys` on the path, whose files a test writes; importing any of them fails."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(**files: str) -> None:
        for name, text in {"__init__": "", **files}.items():
            path = tmp_path / "somebodys" / f"{name}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"raise RuntimeError('imported')\n{text}")

    return write


BASE = """
class Base:
    version = 3
    retired = {"old": 1}
    def __init__(self, network, *, rounds: int = 4, price: float = 0.3):
        ...
"""


def parameters(name: str, module: str = "somebodys.method") -> dict[str, object]:
    """The defaults of a class of the package."""
    source = find_module(module)
    assert source is not None
    definition = source.definition(name)
    assert definition is not None
    return {key: default for key, (_, default) in definition.parameters().items()}


@pytest.mark.parametrize(
    "text",
    [
        "from somebodys.base import Base\nclass Method(Base): ...",
        "from .base import Base\nclass Method(Base): ...",
        "from .base import Base as B\nclass Method(B[int]): ...",
        "from somebodys import base\nclass Method(base.Base): ...",
        "import somebodys.base\nclass Method(somebodys.base.Base): ...",
        "import somebodys.base as parts\nclass Method(parts.Base): ...",
        "from somebodys.again import Base\nclass Method(Base): ...",
    ],
)
def test_options_of_a_base_class_are_found_however_it_is_named(package, text):
    constructor = "def __init__(self, shape, classes, *, width: int = 8, **options): super().__init__(1, **options)"
    method = text.replace(": ...", f":\n    {constructor}")
    package(base=BASE, again="from somebodys.base import Base", method=method)
    assert parameters("Method") == {"width": 8, "rounds": 4, "price": 0.3}
    source = find_module("somebodys.method")
    assert source is not None
    method = source.definition("Method")
    assert method is not None
    assert (method.attribute("version", 1), method.attribute("retired", {})) == (3, {"old": 1})
    assert "somebodys" not in sys.modules


@pytest.mark.parametrize(
    ("constructor", "expected"),
    [
        ("", {"rounds": 4, "price": 0.3}),
        ("def __init__(self, *, width: int = 8): super().__init__(1)", {"width": 8}),
        ("def __init__(self, *, rounds: int = 9, **o): super().__init__(1, rounds=rounds, **o)",
         {"rounds": 9, "price": 0.3}),
        ("def __init__(self, *, width: int = 8, **o): super().__init__(1, rounds=width, **o)",
         {"width": 8, "price": 0.3}),
    ],
)  # fmt: skip
def test_only_options_that_reach_the_base_class_are_inherited(package, constructor, expected):
    package(base=BASE, method=f"from .base import Base\nclass Method(Base):\n    x = 1\n    {constructor}")
    assert parameters("Method") == expected


def test_several_bases_and_several_generations(package):
    package(
        base=BASE,
        method="""
from .base import Base
class Other:
    def __init__(self, *, rounds: int = 1, depth: int = 2, **options): ...
class Middle(Base):
    def __init__(self, *, middle: bool = True, **options): super().__init__(None, **options)
class Method(Middle, Other):
    version = 5
    def __init__(self, **options): super().__init__(**options)
""",
    )
    assert parameters("Method") == {"middle": True, "rounds": 4, "price": 0.3, "depth": 2}


@pytest.mark.parametrize("parameter", ["width=8", "width: Path = 8", "width: int = SIZE", "width: int = 2 ** 3"])
def test_a_parameter_that_cannot_be_read_is_named_with_its_file_and_line(package, parameter):
    package(method=f"class Method:\n    def __init__(self, *,\n        {parameter}): ...")
    with pytest.raises(UserError, match=r"somebodys/method\.py, line 4: parameter 'width'"):
        parameters("Method")


@pytest.mark.parametrize("text", ["class Method(:", "x = 'é'".encode("latin-1"), b"x = '\x00'"])
def test_a_file_that_is_not_python_is_named(tmp_path, text):
    path = Path(tmp_path) / "broken.py"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(UserError, match=r"broken\.py"):
        read_module("broken", path)
