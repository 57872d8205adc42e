"""What is known of a dataset in advance is what it turns out to be."""

from typing import Any

import pytest
from PIL import Image

from benchmark.data import Facts, all_kinds, facts, load, prepare
from benchmark.data.kinds import find_description
from benchmark.errors import UserError
from benchmark.experiment.configuration import dataset_defaults

SMALL = {"train": 8, "validation": 4, "test": 6, "size": 8}
#: Parameters that make little of each; a kind that is not named here is tried with its own.
GENERATED: dict[str, dict[str, Any]] = {
    "digits": {"train_samples": 200, "validation": 30},
    "maze": {**SMALL, "longest": 5},
    "ising": SMALL,
    "parity": {**SMALL, "longest": 9},
    "image_folder": {"path": "pets", "size": 5, "validation": 2, "test_samples": 3},
}
PUBLISHED = {
    "mnist": ((1, 28, 28), 10, 60_000, 10_000),
    "fashion_mnist": ((1, 28, 28), 10, 60_000, 10_000),
    "kmnist": ((1, 28, 28), 10, 60_000, 10_000),
    "cifar10": ((3, 32, 32), 10, 50_000, 10_000),
    "cifar100": ((3, 32, 32), 100, 50_000, 10_000),
    "svhn": ((3, 32, 32), 10, 73_257, 26_032),
}


@pytest.fixture
def folder(tmp_path):
    for split in ("train", "test"):
        for name in ("cats", "dogs"):
            (tmp_path / "pets" / split / name).mkdir(parents=True)
            for index in range(4):
                Image.new("RGB", (9, 7)).save(tmp_path / "pets" / split / name / f"{index}.png")
    return tmp_path


def test_every_kind_describes_itself():
    assert all(find_description(kind) for kind in all_kinds())


@pytest.mark.parametrize("kind", sorted({*all_kinds()} - {*PUBLISHED}))
def test_the_description_is_true_of_the_prepared_dataset(folder, kind):
    parameters = GENERATED.get(kind, {})
    before = list(folder.rglob("*"))
    described = facts(kind, parameters, folder)
    assert list(folder.rglob("*")) == before
    prepare(kind, parameters, folder)
    dataset = load(kind, parameters, folder)
    assert described == facts(kind, parameters, folder)
    assert described.image_shape == dataset.image_shape
    assert described.classes == dataset.classes
    assert [described.train, described.validation, described.test] == [
        len(split.labels) for split in (dataset.train, dataset.validation, dataset.test)
    ]


@pytest.mark.parametrize("kind", PUBLISHED)
def test_what_is_not_downloaded_has_its_published_size(tmp_path, kind):
    shape, classes, train, test = PUBLISHED[kind]
    described = facts(kind, dataset_defaults(kind), tmp_path)
    assert (described.image_shape, len(described.classes)) == (shape, classes)
    assert (described.train + described.validation, described.test) == (train, test)
    assert described.validation == round(0.1 * train)
    fewer = facts(kind, {"validation": 2000, "train_samples": 64, "test_samples": 500}, tmp_path)
    assert (fewer.train, fewer.validation, fewer.test) == (64, 2000, 500)
    assert not any(tmp_path.iterdir())


def test_what_is_prepared_counts_even_where_its_images_are_gone(folder):
    prepare("image_folder", GENERATED["image_folder"], folder)
    (folder / "pets").rename(folder / "moved")
    assert facts("image_folder", GENERATED["image_folder"], folder).test == 3


@pytest.mark.parametrize(
    ("kind", "parameters", "message"),
    [
        ("cifar10", {"validation": 50_000}, "validation: 50000 cannot be held out of 50000"),
        ("digits", {"train_samples": 0}, "train_samples: 0"),
        ("image_folder", {"path": "nowhere"}, "nowhere"),
    ],
)
def test_impossible_parameters_are_refused_in_advance(folder, kind, parameters, message):
    with pytest.raises(UserError, match=message):
        facts(kind, parameters, folder)


def test_a_kind_from_outside_that_describes_nothing_is_prepared(tmp_path, monkeypatch):
    (tmp_path / "plain_dataset.py").write_text(
        "import numpy as np\nfrom benchmark.data import RawDataset, RawSplit\n"
        "def generate(folder, *, samples: int = 6):\n"
        "    split = RawSplit(np.arange(samples) % 2, lambda chosen: np.zeros((len(chosen), 1, 4, 5), np.uint8))\n"
        "    return RawDataset(('a', 'b'), split, split, split)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert facts("plain_dataset:generate", {}, tmp_path) == Facts((1, 4, 5), ("a", "b"), 6, 6, 6)
    assert load("plain_dataset:generate", {}, tmp_path).fingerprint
