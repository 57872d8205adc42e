"""Write a commented template for a new method or kind of dataset; it passes the contract tests unedited.

Examples:
  python -m benchmark new method mine
  python -m benchmark new dataset shapes --folder somewhere

In a checkout of the suite the file goes beside the existing ones, and its name is the `kind` in configurations.
Elsewhere it goes into the current folder, and `kind` is ``module:Class``; that folder must then be on PYTHONPATH.
"""

import argparse
import importlib.resources
import keyword
from pathlib import Path

from benchmark.errors import UserError
from benchmark.experiment import kinds

#: Where the suite's own are, from the root of a checkout.
_HOMES = {"method": Path("baselines"), "dataset": Path("benchmark/data/kinds")}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What, and its name."""
    parser.add_argument("sort", choices=("method", "dataset"), help="what to create")
    parser.add_argument("name", metavar="NAME", help="its name: a Python identifier in lower case")
    parser.add_argument("--folder", type=Path, help="where to write NAME.py (default: see above)")


def main(arguments: argparse.Namespace) -> None:
    """Write the file, and say how to use it."""
    name = arguments.name
    if not name.isidentifier() or name != name.lower() or name.startswith("_") or keyword.iskeyword(name):
        raise UserError(
            f"{name!r} cannot be a name; use lower-case letters, digits and '_', as in my_{arguments.sort}."
        )
    if name in kinds.names(arguments.sort):
        raise UserError(f"there is a {arguments.sort} kind {name!r} already; choose another name.")
    home = Path.cwd() / _HOMES[arguments.sort]
    inside = arguments.folder is None and (home / "__init__.py").is_file()
    folder = arguments.folder or (home if inside else Path.cwd())
    symbol = name.title().replace("_", "") if arguments.sort == "method" else "generate"
    kind = name if inside or folder.resolve() == home.resolve() else f"{name}:{symbol}"
    template = importlib.resources.files("benchmark.commands") / "templates" / f"{arguments.sort}.txt"
    text = template.read_text(encoding="utf-8").replace("NAME", name).replace("SYMBOL", symbol)
    path = folder / f"{name}.py"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UserError(f"{path} exists; choose another name, or delete it.") from None
    print(f"wrote {path}\n\nIn a configuration:\n  {arguments.sort}s:\n    {name}: {{kind: '{kind}'}}")
    prefix = "" if ":" not in kind else f"PYTHONPATH={folder} "
    print(f"\nTest it:\n  {prefix}python -m benchmark check --kind {kind}")
