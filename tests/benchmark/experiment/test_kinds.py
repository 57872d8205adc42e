"""Kinds of methods and datasets: those of the suite, those of installed packages, and anything that can be imported."""

import shutil
import sys
from pathlib import Path

import pytest

from benchmark.errors import UserError
from benchmark.experiment import kinds

METHOD = """
from baselines.resnet import ResNet
class Mine(ResNet):
    version = 2
    def __init__(self, image_shape, classes, *, extra: int = 1, **options):
        super().__init__(image_shape, classes, **options)
"""
DATASET = "VERSION = 4\ndef make(folder, *, samples: int = 5): ...\n"


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A distribution `theirs` 1.2 with a method and a dataset, and entry points for both."""
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "__init__.py").write_text("raise RuntimeError('imported')")
    (tmp_path / "theirs" / "method.py").write_text(METHOD)
    (tmp_path / "theirs" / "data.py").write_text(DATASET)
    info = tmp_path / "theirs-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.2\n")
    (info / "RECORD").write_text("theirs/__init__.py,,\n")
    (info / "entry_points.txt").write_text(
        "[dynalay_bench.methods]\nbrought = theirs.method:Mine\n[dynalay_bench.datasets]\nmade = theirs.data:make\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    kinds._distributions.cache_clear()
    yield info
    kinds._distributions.cache_clear()


def test_a_file_of_the_suite_is_a_kind_and_a_shared_part_is_not():
    assert {"resnet", "act", "branchynet", "dynalay"} <= set(kinds.names("method"))
    assert not {"backbone", "classifier", "network", "agent"} & set(kinds.names("method"))
    assert {"digits", "maze"} <= set(kinds.names("dataset"))
    with pytest.raises(UserError, match=r"no method kind 'resnext'\. Did you mean 'resnet'"):
        kinds.find("method", "resnext")
    with pytest.raises(UserError, match="no method kind 'backbone'"):
        kinds.find("method", "backbone")


@pytest.mark.parametrize("name", ["brought", "theirs.method:Mine"])
def test_a_method_of_another_package_is_found_without_importing_it(installed, name):
    kind = kinds.find("method", name)
    assert list(kind.parameters.model_fields) == ["extra", "depth", "channels", "strides", "pool"]
    assert (kind.meaning.version, kind.meaning.distribution) == (2, "theirs 1.2")
    assert "theirs" not in sys.modules
    assert "brought" in kinds.names("method")


@pytest.mark.parametrize("name", ["made", "theirs.data:make"])
def test_a_dataset_of_another_package_is_found_without_importing_it(installed, name):
    kind = kinds.find("dataset", name)
    assert (kind.meaning.version, kind.meaning.distribution) == (4, "theirs 1.2")
    assert kind.meaning.defaults == {"samples": 5}
    assert "made" in kinds.names("dataset")


def test_the_suites_own_names_come_first_and_one_name_in_two_packages_is_refused(installed):
    (installed / "entry_points.txt").write_text("[dynalay_bench.methods]\nresnet = theirs.method:Mine\n")
    assert kinds.find("method", "resnet").meaning.distribution is None
    other = installed.with_name("others-3.dist-info")
    shutil.copytree(installed, other)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: others\nVersion: 3\n")
    (installed / "entry_points.txt").write_text("[dynalay_bench.methods]\nboth = theirs.method:Mine\n")
    (other / "entry_points.txt").write_text("[dynalay_bench.methods]\nboth = others.method:Mine\n")
    with pytest.raises(UserError, match=r"several installed packages call a method 'both'.*theirs 1\.2.*write one in"):
        kinds.find("method", "both")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.method:Mine", "no module 'nowhere.method' here; is its package installed"),
        ("theirs.method:Mone", r"method\.py has no class 'Mone'\. Did you mean 'Mine'"),
        ("theirs.method:", "has no class ''"),
        (":Mine", "no module ''"),
    ],
)
def test_what_cannot_be_found_is_named(installed, name, message):
    with pytest.raises(UserError, match=message):
        kinds.find("method", name)


def test_a_loose_file_is_a_kind_without_a_distribution(tmp_path, monkeypatch):
    (tmp_path / "loose.py").write_text(METHOD)
    monkeypatch.syspath_prepend(tmp_path)
    kind = kinds.find("method", "loose:Mine")
    assert kind.meaning.distribution is None
    assert kind.load()((1, 8, 8), 3, depth=8).classes == 3


def test_a_file_that_imports_what_is_missing_is_named(tmp_path, monkeypatch):
    (tmp_path / "lacking.py").write_text("import nowhere_at_all\n" + METHOD)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"'lacking:Mine' cannot be imported: .*nowhere_at_all"):
        kinds.find("method", "lacking:Mine").load()


@pytest.mark.parametrize("name", [".#act.py", "._act.py", "__act.py", "act copy.py", "act.py~", ".act.py.swp"])
def test_what_editors_and_systems_leave_behind_is_no_kind(copy_of_baselines, name):
    before = kinds.names("method")
    (copy_of_baselines / name).write_bytes(b"\x00\x05 not Python")
    assert kinds.names("method") == before
    assert kinds.find("method", "act")


def test_a_broken_file_is_named_and_only_where_it_is_used(copy_of_baselines):
    (copy_of_baselines / "broken.py").write_text("class Broken(:\n")
    assert kinds.find("method", "act")
    assert "broken" in kinds.names("method")
    with pytest.raises(UserError, match=r"broken\.py, line 1"):
        kinds.find("method", "broken")


@pytest.fixture
def copy_of_baselines(tmp_path, monkeypatch):
    """A folder that stands in for that of `baselines`."""
    folder = tmp_path / "baselines"
    shutil.copytree(Path(__file__).parents[3] / "baselines", folder)
    original = kinds._folder
    monkeypatch.setattr(kinds, "_folder", lambda package: folder if package == "baselines" else original(package))
    return folder
