import inspect
from pathlib import Path

import pytest

from benchmark.data import all_kinds, find_kind
from benchmark.errors import UserError


def test_every_kind_is_found():
    shipped = {"digits", "maze", "ising", "parity", "image_folder", "svhn"}
    torchvision = {"mnist", "fashion_mnist", "kmnist", "cifar10", "cifar100"}
    assert shipped | torchvision <= set(all_kinds())


@pytest.mark.parametrize("name", all_kinds())
def test_users_parameters_are_keyword_only_annotated_and_described(name):
    generate = find_kind(name)
    folder, *parameters = inspect.signature(generate).parameters.values()
    assert folder.name == "folder"
    assert folder.annotation is Path
    for parameter in parameters:
        assert parameter.kind is parameter.KEYWORD_ONLY
        assert parameter.annotation is not parameter.empty
        assert f"{parameter.name}: " in (inspect.getdoc(generate) or "")


def test_a_kind_may_be_any_function_that_can_be_imported(tmp_path, monkeypatch):
    (tmp_path / "spirals.py").write_text("def generate(folder, *, turns: int = 2):\n    ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert list(inspect.signature(find_kind("spirals:generate")).parameters) == ["folder", "turns"]


def test_an_unknown_kind_is_answered_with_those_that_exist():
    with pytest.raises(UserError, match=r"no dataset kind 'digit'.*digits"):
        find_kind("digit")
