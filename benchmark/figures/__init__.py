"""The figures: one file each, found without a list.

A figure is a module of this package that defines

- a docstring: its first line is the figure's title, the rest its caption;
- `applies(configuration) -> bool`: whether an experiment can have it, decided from the configuration alone, so that the
  pipeline knows its files before anything has run;
- `data(evidence) -> DataFrame`: what is drawn, made from the experiment's summary and run files; empty where the
  finished runs have nothing to show;
- `draw(data, style) -> Figure`: the picture, made from that table and nothing else.

The table is written beside the picture, so every figure can be drawn again, or otherwise, by whoever reads it.
"""

import ast
import importlib
import pkgutil
from pathlib import Path
from typing import Protocol, cast

import pandas as pd
from matplotlib.figure import Figure

from benchmark.errors import UserError
from benchmark.experiment.configuration import Configuration
from benchmark.figures._evidence import Evidence
from benchmark.figures._style import WIDTHS, Style, applied

__all__ = ["WIDTHS", "Evidence", "FigureModule", "Style", "applicable", "applied", "caption", "find", "names", "title"]


class FigureModule(Protocol):
    """What a figure's module defines."""

    def applies(self, configuration: Configuration) -> bool:
        """Whether the experiment can have this figure."""

    def data(self, evidence: Evidence) -> pd.DataFrame:
        """What is drawn; empty where the finished runs have nothing to show."""

    def draw(self, data: pd.DataFrame, style: Style) -> Figure:
        """The picture of `data`, which is not empty."""


def names() -> list[str]:
    """Every figure's name, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def find(name: str) -> FigureModule:
    """The figure of this name.

    Raises:
        UserError: there is none; the message lists those that exist.
    """
    if name not in names():
        raise UserError(f"There is no figure {name!r}; there are {', '.join(names())}.")
    return cast(FigureModule, importlib.import_module(f"{__name__}.{name}"))


def applicable(configuration: Configuration) -> dict[str, FigureModule]:
    """The figures that an experiment can have, by name."""
    return {name: figure for name in names() if (figure := find(name)).applies(configuration)}


def title(name: str) -> str:
    """A figure's title."""
    return _docstring(name).partition("\n")[0].rstrip(".")


def caption(name: str) -> str:
    """What a figure shows and how to read it, in one paragraph; read from its source, without importing it."""
    return " ".join(_docstring(name).partition("\n")[2].split())


def _docstring(name: str) -> str:
    source = Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8")
    return ast.get_docstring(ast.parse(source)) or ""
