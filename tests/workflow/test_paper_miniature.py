"""The paper's grid, small: its own datasets and methods, on few samples in the real files' formats, for one epoch."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy.io import savemat
from torchvision import datasets

from benchmark import data
from benchmark.__main__ import main
from benchmark.experiment.configuration import load
from tests.benchmark.data.test_torchvision_sets import idx, md5
from tests.workflow import pipeline

PAPER = pipeline.ROOT / "config" / "paper.yaml"
TRAIN, TEST = 24, 8

# Smaller data and networks under the paper's labels; whatever is not named here stays as it is there.
PLACED = {"validation": 8}
DATASETS = {
    "digits": {"train_samples": 16, "validation": 8, "test": 8},
    "maze": {"size": 8, "longest": 6, "train": 16, "validation": 8, "test": 8},
    "ising": {"size": 8, "train": 16, "validation": 8, "test": 8},
    "parity": {"size": 4, "train": 16, "validation": 8, "test": 8},
}
#: The kinds that are run, each once, with small networks; the contract runs all kinds.
NETWORKS = {
    "static": {"channels": [4, 4, 4], "strides": [1, 2, 2]},
    "resnet": {"depth": 8, "channels": [4, 4, 4]},
    "act": {"depth": 14, "channels": [4, 4, 4], "points": 2},
    "branchynet": {"depth": 8, "channels": [4, 4, 4], "exits": [1], "points": 2},
    "dynalay": {
        "layers": [1, 1, 1], "channels": [4, 4, 4], "strides": [1, 2, 2], "points": 2, "controls": False,
        "agent_samples": 20, "agent_steps": 5,
    },
}  # fmt: skip


def lay_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Raw files of all sets that torchvision knows, where it looks for them, with its lists of checksums adapted."""
    rng = np.random.default_rng(0)

    def images(samples: int, *shape: int) -> np.ndarray:
        return rng.integers(0, 256, (samples, *shape), dtype=np.uint8)

    sizes = {"train": TRAIN, "test": TEST}
    for source in (datasets.MNIST, datasets.FashionMNIST, datasets.KMNIST):
        raw = folder / source.__name__ / "raw"
        raw.mkdir(parents=True)
        for split, prefix in (("train", "train"), ("test", "t10k")):
            (raw / f"{prefix}-images-idx3-ubyte").write_bytes(idx(images(sizes[split], 28, 28)))
            (raw / f"{prefix}-labels-idx1-ubyte").write_bytes(idx(np.arange(sizes[split]) % 10))

    for source, labels, names in (
        (datasets.CIFAR10, "labels", "label_names"),
        (datasets.CIFAR100, "fine_labels", "fine_label_names"),
    ):
        base = folder / source.base_folder
        base.mkdir()
        for files, samples in (("train_list", TRAIN), ("test_list", TEST)):
            listed = getattr(source, files)
            for name, _ in listed:
                count = samples // len(listed)
                values = {"data": images(count, 3072), labels: (np.arange(count) % 10).tolist()}
                (base / name).write_bytes(pickle.dumps(values))
            monkeypatch.setattr(source, files, [[name, md5(base / name)] for name, _ in listed])
        meta = base / source.meta["filename"]
        meta.write_bytes(pickle.dumps({names: [f"class {number}" for number in range(10)]}))
        monkeypatch.setattr(source, "meta", {**source.meta, "md5": md5(meta)})

    split_list = dict(datasets.SVHN.split_list)
    for split, samples in sizes.items():
        url, name, _ = split_list[split]
        # Zero is class 10 there, and samples come last.
        savemat(folder / name, {"X": images(32, 32, 3, samples), "y": np.arange(samples)[:, None] % 10 + 1})
        split_list[split] = [url, name, md5(folder / name)]
    monkeypatch.setattr(datasets.SVHN, "split_list", split_list)


def write_miniature(path: Path) -> None:
    paper = yaml.safe_load(PAPER.read_text())
    paper["seeds"] = 1
    for label, entry in paper["datasets"].items():
        entry["parameters"] = DATASETS.get(label, PLACED)
        entry.setdefault("recipe", {}).pop("epochs", None)
        entry.pop("methods", None)
    paper["recipe"] |= {"epochs": 1, "batch_size": 8}
    kinds = {label: entry.get("kind", label) for label, entry in paper["methods"].items()}
    chosen = {kind: label for label, kind in reversed(kinds.items()) if kind in NETWORKS}  # the first of each
    paper["methods"] = {
        label: {**paper["methods"][label], "parameters": NETWORKS[kind]} for kind, label in chosen.items()
    }
    paper["reference"] = chosen["resnet"]
    path.write_text(yaml.safe_dump(paper))


@pytest.mark.slow
def test_the_paper_names_every_dataset_that_can_be_had_and_passes_a_dry_run(run, tmp_path):
    experiment = load(PAPER)
    assert set(experiment.dataset_kinds.values()) == set(data.all_kinds()) - {"image_folder"}
    assert len(experiment.seeds) == 5
    status, output = run(tmp_path, "--dry-run", "--quiet", "rules", "--config", f"experiment={PAPER}")
    assert status == 0, output
    announced = pipeline.jobs(output)
    assert announced["train"] == announced["evaluate"] == len(experiment.runs())
    assert announced["data"] == len(experiment.datasets)


@pytest.mark.slow
@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.thorough)])
def test_every_method_and_every_dataset_of_the_paper_runs(tmp_path, monkeypatch, capsys, every):
    """Each dataset with one method, and each method with some dataset; or all with all."""
    folder, results, path = tmp_path / "data", tmp_path / "results", tmp_path / "miniature.yaml"
    folder.mkdir()
    lay_files(folder, monkeypatch)
    write_miniature(path)
    experiment = load(path)
    options = ["--config", str(path), "--results", str(results)]
    methods = list(experiment.methods)
    for place, dataset in enumerate(experiment.datasets):
        for method in methods if every else [methods[place % len(methods)]]:
            run = ["--dataset", dataset, "--method", method, "--seed", "0", "--data", str(folder), "--device", "cpu"]
            assert main(["train", *options, *run]) == 0, capsys.readouterr().err
            assert main(["evaluate", *options, *run]) == 0, capsys.readouterr().err
    assert main(["summary", *options]) == 0
    assert main(["tables", *options]) == 0
    tables = "".join(table.read_text() for table in (results / experiment.experiment / "tables").glob("*.md"))
    for label in (*experiment.datasets, *experiment.methods):
        assert label in tables
    capsys.readouterr()
    speed = ["--images-per-second", "cifar10/resnet8=1000", "--device", "cuda"]
    assert main(["estimate", "--config", str(path), "--data", str(folder), *speed]) == 0
    assert f"{len(experiment.runs())} runs" in capsys.readouterr().out
