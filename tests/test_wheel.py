"""The wheel, installed away from the checkout, trains and shows a method that a third package brings."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
UV = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
METHOD = """
from baselines.resnet import ResNet
class Tiny(ResNet):
    def __init__(self, image_shape, classes, *, extra: int = 1, **options):
        super().__init__(image_shape, classes, depth=8, **options)
"""
PROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "somebodys"
version = "2.5"
[project.entry-points."dynalay_bench.methods"]
tiny = "somebodys:Tiny"
[tool.setuptools]
py-modules = ["somebodys"]
"""
CONFIGURATION = """
experiment: away
seeds: 1
reference: resnet8
recipe: {epochs: 1}
datasets:
  digits: {parameters: {train_samples: 200}}
methods:
  resnet8: {kind: resnet, parameters: {depth: 8, channels: [4, 4, 4]}}
  tiny: {parameters: {channels: [4, 4, 4]}}
  written-out: {kind: "somebodys:Tiny", parameters: {channels: [4, 4, 8]}}
"""

pytestmark = [pytest.mark.slow, pytest.mark.skipif(UV is None, reason="needs uv")]


def run(*command: str | Path, folder: Path) -> str:
    """Run a command that must succeed, without this checkout on the path; returns what it prints."""
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    finished = subprocess.run(list(map(str, command)), cwd=folder, env=environment, capture_output=True, text=True)
    assert finished.returncode == 0, f"{command}: {finished.stdout}{finished.stderr}"
    return finished.stdout


def build(project: Path, folder: Path) -> Path:
    """The wheel of a project, built with the setuptools that is installed."""
    assert UV is not None
    run(UV, "build", "--wheel", "--no-build-isolation", "--offline", "--python", sys.executable, "--out-dir", folder,
        project, folder=folder)  # fmt: skip
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def away(tmp_path_factory):
    """A folder with an environment in which both wheels are installed, over the packages of this one."""
    folder = tmp_path_factory.mktemp("away")
    suite, theirs = folder / "suite", folder / "theirs"
    for package in ("dynalay", "baselines", "benchmark"):
        shutil.copytree(ROOT / package, suite / package, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, suite)
    theirs.mkdir()
    (theirs / "somebodys.py").write_text(METHOD)
    (theirs / "pyproject.toml").write_text(PROJECT)
    (folder / "dist").mkdir()
    wheels = []
    for project in (suite, theirs):
        (folder / "dist" / project.name).mkdir()
        wheels.append(build(project, folder / "dist" / project.name))
    assert UV is not None
    run(UV, "venv", "--offline", "--python", sys.executable, folder / "venv", folder=folder)
    python = folder / "venv" / "bin" / "python"
    run(UV, "pip", "install", "--offline", "--no-deps", "--python", python, *wheels, folder=folder)
    (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
    (site / "parent.pth").write_text(sysconfig.get_path("purelib"))
    (folder / "away.yaml").write_text(CONFIGURATION)
    return folder, wheels[0]


def test_the_wheel_has_the_three_packages_and_nothing_else(away):
    names = zipfile.ZipFile(away[1]).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"dynalay", "baselines", "benchmark"}
    assert {f"{package}/py.typed" for package in ("dynalay", "baselines", "benchmark")} <= set(names)
    shipped = {path.relative_to(ROOT).as_posix() for path in (ROOT / "benchmark").rglob("*") if path.is_file()}
    assert {name for name in shipped if "__pycache__" not in name} <= set(names)


def test_a_type_checker_sees_the_types_of_the_library(away):
    folder, _ = away
    (folder / "user.py").write_text(
        "from dynalay import DynaLay\nreveal_type(DynaLay.from_pretrained('here').classes)\n"
    )
    python = folder / "venv" / "bin" / "python"
    command = (sys.executable, "-m", "mypy", "--python-executable", python, "--cache-dir", folder / "cache", "user.py")
    assert re.search(r'type is "(builtins\.)?int"', run(*command, folder=folder))


def test_a_method_of_a_third_package_is_trained_and_stands_in_the_tables(away):
    folder, _ = away
    command = folder / "venv" / "bin" / "dynalay-bench"
    config = ("--config", "away.yaml")
    for method in ("resnet8", "tiny", "written-out"):
        for verb in ("train", "evaluate"):
            run(command, verb, *config, "--dataset", "digits", "--method", method, "--seed", "0", folder=folder)
    for verb in ("summary", "tables"):
        run(command, verb, *config, folder=folder)
    description = (folder / "results/away/digits/tiny/seed0/run.json").read_text()
    assert '"distribution": "somebodys 2.5"' in description
    table = (folder / "results/away/tables/main_results.md").read_text()
    assert "tiny" in table
    assert "written-out" in table
