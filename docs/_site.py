"""What MkDocs does not do by itself: pages from outside docs/, generated pages, and formulas without JavaScript.

Pages are written to be read in the repository too, so their links are paths in the repository. A link to a Markdown
file of `PAGES` becomes a link to its page; any other file outside docs/ that a page links to is copied into the site.
"""

import contextlib
import html
import io
import os
import re
from pathlib import Path

import latex2mathml.converter
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from benchmark import __main__ as command_line  # found when MkDocs is started as `python -m mkdocs`

ROOT = Path(__file__).resolve().parent.parent

#: Files outside docs/ that are pages, and what the site calls them.
PAGES = {
    "README.md": "index.md",
    "config/README.md": "configuration.md",
    "timings/README.md": "timings.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}

#: Pages of the API: their title, and the modules they describe, as patterns of paths.
API = {
    "dynalay": ("The library", ["dynalay/*.py"]),
    "dynalay.fixed_point": ("Fixed points", ["dynalay/fixed_point/*.py"]),
    "baselines": ("The peers", ["baselines/*.py"]),
    "benchmark": (
        "The harness",
        [
            "benchmark/experiment/configuration.py",
            "benchmark/data/raw.py",
            "benchmark/data/kinds/*.py",
            "benchmark/evaluation/records.py",
            "benchmark/analysis/*.py",
        ],
    ),
}

_LINK = re.compile(r"(\]\()([^)\s:#]+)((?:#[^)\s]*)?\))")
_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages from outside docs/, the files that pages link to, the API pages and the command line's."""
    for source, uri in PAGES.items():
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / source)))
    for name, (title, patterns) in API.items():
        files.append(File.generated(config, f"api/{name}.md", content=_api_page(title, patterns)))
    files.append(File.generated(config, "commands.md", content=_commands_page()))
    for page in list(files.documentation_pages()):
        if page.abs_src_path is None:
            continue
        for _, target, _ in _LINK.findall(page.content_string):
            path = _in_repository(page, target)
            if path and path.is_file() and files.get_file_from_path(uri := _uri(path)) is None:
                files.append(File.generated(config, uri, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links within the repository at the site's pages and files."""
    if page.is_homepage:
        page.meta["hide"] = ["navigation"]  # it would hold a single entry

    def on_site(link: re.Match[str]) -> str:
        path = _in_repository(page.file, link[2])
        if path is None or not path.is_file():
            return link[0]
        return link[1] + os.path.relpath(_uri(path), Path(page.file.src_uri).parent).replace(os.sep, "/") + link[3]

    return _LINK.sub(on_site, markdown)


def on_page_content(content: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Set formulas as MathML, which browsers draw by themselves."""

    def mathml(formula: re.Match[str]) -> str:
        display = "inline" if formula[1] == "span" else "block"
        return latex2mathml.converter.convert(html.unescape(formula[2]).strip(), display=display)

    return _FORMULA.sub(mathml, content)


def _in_repository(page: File, target: str) -> Path | None:
    """The file of the repository that a link on this page means; None where the page has no file of its own."""
    if page.abs_src_path is None:
        return None
    path = (Path(page.abs_src_path).parent / target).resolve()
    return path if path.is_relative_to(ROOT) else None


def _uri(path: Path) -> str:
    """Where the site has a file of the repository."""
    name = path.relative_to(ROOT).as_posix()
    return PAGES.get(name, name.removeprefix("docs/"))


def _api_page(title: str, patterns: list[str]) -> str:
    """A page about modules. A package that only collects names of its modules is described by its docstring alone."""
    paths = [path for pattern in patterns for path in sorted(ROOT.glob(pattern)) if not path.stem.startswith("_")]
    packages = {path.parent for path in paths if (path.parent / "__init__.py").is_file()}
    blocks = [f"# {title}"]
    for path in sorted(packages.union(paths), key=lambda path: path.with_suffix("").parts):
        module = path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
        collects = path.is_dir() and "__all__" in (path / "__init__.py").read_text()
        blocks.append(f"::: {module}" + ("\n    options: {members: false}" if collects else ""))
    return "\n\n".join(blocks)


def _commands_page() -> str:
    """Every command of the command line, with its help."""
    blocks = ["# Command line", "Every step of the pipeline is a command of `python -m benchmark`."]
    os.environ |= {"COLUMNS": "84", "NO_COLOR": "1"}  # what argparse looks at
    for command in sorted(command_line.verbs()):
        text = io.StringIO()
        with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
            command_line.main([command, "--help"])
        blocks.append(f"## {command}\n\n```text\n{text.getvalue().strip()}\n```")
    return "\n\n".join(blocks)
