"""The house rules: which way imports run, one truth about dependencies, nothing of anybody's machine."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from benchmark.experiment import kinds

ROOT = Path(__file__).parents[1]
LAYERS = ("dynalay", "baselines", "benchmark", "workflow")  # each may import itself and those before it
#: The rooms of `benchmark`, from the ground up: each may import its own modules and those of the rooms before it.
ROOMS = (("errors", "files"), ("experiment",), ("data",), ("training",), ("evaluation",), ("contract",), ("analysis",),
         ("tuning",), ("figures",), ("report",), ("commands",))  # fmt: skip
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

#: Runtime dependencies that no file imports.
NOT_IMPORTED = {
    "tabulate",  # pandas writes Markdown tables with it
    "snakemake",
    "snakemake-executor-plugin-slurm",
}


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """The full names of the modules that a file imports anywhere in it, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.relative_to(ROOT)}: a relative import"
            yield str(node.module)


def third_party(package: str) -> set[str]:
    """The top-level modules that a package imports from neither itself, its siblings nor the standard library."""
    top = {name.partition(".")[0] for path in sources(package) for name in imports(path)}
    return top - set(LAYERS) - sys.stdlib_module_names


def requirements(*groups: list[str]) -> dict[str, Requirement]:
    return {canonicalize_name(entry.name): entry for group in groups for entry in map(Requirement, group)}


def locked() -> dict[str, list[Version]]:
    """Every locked distribution's versions: several where they differ by platform or Python."""
    versions: dict[str, list[Version]] = {}
    for name, version in re.findall(r"^([\w.-]+)==([^\s;]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE):
        versions.setdefault(canonicalize_name(name), []).append(Version(version))
    return versions


def tracked() -> list[Path]:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listing.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()]


@pytest.mark.parametrize("package", LAYERS)
def test_imports_run_one_way(package):
    above = set(LAYERS[LAYERS.index(package) + 1 :])
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sources(package)
        for name in imports(path)
        if name.partition(".")[0] in above
    ]
    assert not wrong


def test_rooms_of_the_benchmark_import_one_way():
    floor = {room: number for number, rooms in enumerate(ROOMS) for room in rooms}
    wrong = []
    for path in sources("benchmark"):
        room = path.relative_to(ROOT / "benchmark").with_suffix("").parts[0]
        if room in ("__init__", "__main__"):
            continue
        for name in imports(path):
            package, _, rest = name.partition(".")
            if package == "benchmark" and rest and floor[rest.partition(".")[0]] > floor[room]:
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not wrong


def test_every_folder_and_file_of_the_benchmark_is_a_known_room():
    found = {path.stem for path in (ROOT / "benchmark").iterdir() if not path.name.startswith((".", "__", "py.typed"))}
    assert found == {room for rooms in ROOMS for room in rooms}


def test_no_source_is_too_long_to_read():
    lengths = {path: len(path.read_text().splitlines()) for package in LAYERS for path in sources(package)}
    assert {path.name: length for path, length in lengths.items() if length > 330} == {}


def test_no_modules_import_each_other_in_a_circle():
    """Also through several steps; imports inside functions count."""
    files = {path: path.relative_to(ROOT).with_suffix("") for package in LAYERS for path in sources(package)}
    modules = {".".join(name.parts).removesuffix(".__init__"): path for path, name in files.items()}
    edges = {
        name: {m for target in imported_names(path) if (m := _module(target, modules)) and m != name}
        for name, path in modules.items()
    }
    circle = _circle(edges)
    assert not circle, " -> ".join(circle)


def imported_names(path: Path) -> Iterator[str]:
    """What a file imports, down to the names: `from a import b` is both `a` and `a.b`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _module(name: str, modules: dict[str, Path]) -> str | None:
    """The module that an imported name is, or lies in."""
    parent = name.rpartition(".")[0]
    return name if name in modules else parent if parent in modules else None


def _circle(edges: dict[str, set[str]]) -> list[str]:
    """Some circle of modules, or nothing."""
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name not in done:
            for target in sorted(edges[name]):
                if found := visit(target, [*path, name]):
                    return found
            done.add(name)
        return []

    return next((found for name in sorted(edges) if (found := visit(name, []))), [])


def test_a_method_is_named_in_no_source_but_its_own():
    """So that to remove a method is to delete its file: no registry, table or figure has to know."""
    methods = {path.stem for path in sources("baselines")} & set(kinds.names("method"))
    assert len(methods) > 5
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for package in LAYERS
        for path in sources(package)
        for name in imports(path)
        if name.startswith("baselines.") and name.split(".")[1] in methods - {path.stem}
    ]
    words = methods - {"static"}  # which is also a column of the summary
    pipeline = [ROOT / "Snakefile", *(ROOT / "workflow").rglob("*.smk"), *sources("benchmark"), *sources("workflow")]
    wrong += [
        f"{path.relative_to(ROOT)} names {word}"
        for path in pipeline
        for word in re.findall(r"""["'](\w+)["']""", path.read_text())
        if word in words
    ]
    assert not wrong


def test_dynalay_knows_nothing_of_datasets_files_or_snakemake():
    """But for one module, which saves and loads models: users of the library have no harness that does it for them."""
    assert third_party("dynalay") <= {"torch", "fvcore", "jaxtyping", "safetensors"}
    of_files = {"csv", "io", "json", "os", "pathlib", "pickle", "safetensors", "shutil", "tempfile"}
    with_files = {
        path.stem for path in sources("dynalay") if of_files & {name.partition(".")[0] for name in imports(path)}
    }
    assert with_files == {"pretrained"}


def test_what_is_imported_is_declared_and_what_is_declared_is_used():
    distributions = packages_distributions()
    modules = set().union(*(third_party(package) for package in LAYERS))
    imported = {canonicalize_name(name) for module in modules for name in distributions.get(module, [module])}
    assert imported | NOT_IMPORTED == requirements(PROJECT["project"]["dependencies"]).keys()


def test_lock_satisfies_every_declared_dependency():
    versions = locked()
    declared = requirements(PROJECT["project"]["dependencies"], PROJECT["dependency-groups"]["dev"])
    for name, requirement in declared.items():
        assert versions.get(name), f"{name} is not locked: make lock"
        assert all(version in requirement.specifier for version in versions[name]), f"{requirement}: make lock"


def test_lock_has_a_hash_for_every_version_and_no_address():
    text = (ROOT / "requirements.lock").read_text()
    entries = re.split(r"^(?=[\w.-]+==)", text, flags=re.MULTILINE)[1:]
    assert entries
    assert all("--hash=sha256:" in entry for entry in entries)
    assert not re.search(r"://|^-", text, re.MULTILINE)


def test_conda_environment_is_the_locked_one():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    pins: dict[str, str] = dict(entry.split("=") for entry in conda)
    renamed = {"pytorch": "torch", "matplotlib-base": "matplotlib", "snakemake-minimal": "snakemake"}
    python = pins.pop("python")
    assert python in Requirement(f"python{PROJECT['project']['requires-python']}").specifier
    assert {renamed.get(name, name) for name in pins} == requirements(PROJECT["project"]["dependencies"]).keys()
    versions = locked()
    for name, pin in pins.items():
        for version in versions[renamed.get(name, name)]:
            assert version.release[: len(Version(pin).release)] == Version(pin).release, (
                f"{name}={pin}, locked {version}"
            )


def test_citation_names_the_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == PROJECT["project"]["version"]


def test_make_knows_every_target_that_the_documents_name():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    command = re.compile(r"(?:`|^ *)make ([a-z -]+)(?:`| *#.*$|$)", re.MULTILINE)
    documents = [path.read_text() for path in tracked() if path.suffix == ".md"]
    named = {target for text in documents for goals in command.findall(text) for target in goals.split()}
    assert {"results", "test"} <= named <= targets


def test_no_file_names_a_machine_or_a_package_index():
    forbidden = re.compile(
        r"(?<![\w.])/(?:work|root)/|(?:index|extra-index|find)-(?:url|links)|py(?:pi\.org|thonhosted)"
    )
    for path in tracked():
        text = path.read_bytes().decode("utf-8", errors="ignore")
        found = forbidden.search(text)
        assert not found, f"{path.relative_to(ROOT)}: {found.group()}" if found else ""
