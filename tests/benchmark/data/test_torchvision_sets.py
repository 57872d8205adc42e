"""Small files in the real formats, with torchvision's own lists of checksums adapted to them."""

import errno
import functools
import gzip
import hashlib
import http.server
import os
import pickle
import socket
import tarfile
import threading
import time

import numpy as np
import pytest
from scipy.io import savemat
from torchvision import datasets

from benchmark.data import load, prepare, torchvision_sets
from benchmark.errors import UserError

SAMPLES = {"train": 60, "test": 20}
RNG = np.random.default_rng(0)
IMAGES = {split: RNG.integers(0, 256, (samples, 3, 32, 32), dtype=np.uint8) for split, samples in SAMPLES.items()}
LABELS = {split: np.arange(samples) % 10 for split, samples in SAMPLES.items()}


def md5(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


def idx(array):
    """MNIST's format: magic number with type and dimensions, sizes, values; all big-endian."""
    header = [0x0800 + array.ndim, *array.shape]
    return np.array(header, dtype=">i4").tobytes() + array.astype(np.uint8).tobytes()


@pytest.fixture
def mnist(tmp_path, monkeypatch):
    """MNIST's archives, gzipped, in a folder beside the data folder."""
    server = tmp_path / "server"
    server.mkdir()
    resources = []
    for split, prefix in (("train", "train"), ("test", "t10k")):
        for what, array in (("images-idx3", IMAGES[split][:, 0, :28, :28]), ("labels-idx1", LABELS[split])):
            path = server / f"{prefix}-{what}-ubyte.gz"
            path.write_bytes(gzip.compress(idx(array)))
            resources.append((path.name, md5(path)))
    monkeypatch.setattr(datasets.MNIST, "resources", resources)
    monkeypatch.setattr(datasets.MNIST, "mirrors", [f"http://127.0.0.1:{closed_port()}/"])
    return server


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    """CIFAR-10's archive of pickles, in a folder beside the data folder."""
    content = tmp_path / "server" / "cifar-10-batches-py"
    content.mkdir(parents=True)
    parts = {f"data_batch_{part}": slice(12 * part - 12, 12 * part) for part in range(1, 6)}
    for split, batches in (("train", parts), ("test", {"test_batch": slice(None)})):
        for name, part in batches.items():
            values = {"data": IMAGES[split][part].reshape(-1, 3072), "labels": LABELS[split][part].tolist()}
            (content / name).write_bytes(pickle.dumps(values))
    names = [f"class {number}" for number in range(10)]
    (content / "batches.meta").write_bytes(pickle.dumps({"label_names": names}))
    archive = tmp_path / "server" / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(content, content.name)
    monkeypatch.setattr(datasets.CIFAR10, "train_list", [[name, md5(content / name)] for name in parts])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [["test_batch", md5(content / "test_batch")]])
    meta = {**datasets.CIFAR10.meta, "md5": md5(content / "batches.meta")}
    monkeypatch.setattr(datasets.CIFAR10, "meta", meta)
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", md5(archive))
    monkeypatch.setattr(datasets.CIFAR10, "url", f"http://127.0.0.1:{closed_port()}/{archive.name}")
    return archive


def closed_port():
    """A port on which nobody listens."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        return closed.getsockname()[1]


@pytest.fixture
def serve(monkeypatch):
    """Serves a folder over HTTP on this machine; gives the address and what was asked for."""
    servers = []
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            asked.append(f"{self.command} {self.path}")

    asked: list[str] = []

    def start(folder):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder))
        threading.Thread(target=server.serve_forever).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/", asked

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def assert_holds(dataset, images):
    """Each sample of the dataset is one of `images`, with its label; train and validation are all of them."""
    parts = {"train": [dataset.train, dataset.validation], "test": [dataset.test]}
    for split, expected in images.items():
        found = [
            (image.numpy().tobytes(), int(label))
            for part in parts[split]
            for image, label in zip(part.images, part.labels, strict=True)
        ]
        wanted = [(image.tobytes(), int(label)) for image, label in zip(expected, LABELS[split], strict=True)]
        assert sorted(found) == sorted(wanted)


def place_mnist(server, folder):
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for archive in server.iterdir():
        (raw / archive.stem).write_bytes(gzip.decompress(archive.read_bytes()))
    return raw


def test_mnist_from_files_in_place(tmp_path, mnist):
    place_mnist(mnist, tmp_path)
    prepare("mnist", {"validation": 10}, tmp_path)
    dataset = load("mnist", {"validation": 10}, tmp_path, verify=True)
    assert dataset.image_shape == (1, 28, 28)
    assert dataset.validation.labels.bincount().tolist() == [1] * 10
    assert_holds(dataset, {split: images[:, :1, :28, :28] for split, images in IMAGES.items()})


def test_mnist_from_archives_in_place(tmp_path, mnist):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for archive in mnist.iterdir():
        (raw / archive.name).write_bytes(archive.read_bytes())
    prepare("mnist", {}, tmp_path)
    assert_holds(load("mnist", {}, tmp_path), {split: images[:, :1, :28, :28] for split, images in IMAGES.items()})
    assert len(list(raw.iterdir())) == 8


def test_mnist_downloaded(tmp_path, mnist, serve, monkeypatch, capfd):
    address, asked = serve(mnist)
    monkeypatch.setattr(datasets.MNIST, "mirrors", [address])
    prepare("mnist", {}, tmp_path)
    assert_holds(load("mnist", {}, tmp_path), {split: images[:, :1, :28, :28] for split, images in IMAGES.items()})
    assert "100%" in capfd.readouterr().err
    asked.clear()
    prepare("mnist", {"validation": 20}, tmp_path)  # other parameters, the same raw files
    assert asked == []


def test_a_download_that_was_killed_is_resumed(tmp_path, mnist, serve, monkeypatch):
    address, asked = serve(mnist)
    monkeypatch.setattr(datasets.MNIST, "mirrors", [address])
    beside = tmp_path / ".mnist-download" / "MNIST" / "raw"
    beside.mkdir(parents=True)
    names = [name for name, _ in datasets.MNIST.resources]
    (beside / names[0]).write_bytes((mnist / names[0]).read_bytes())  # whole
    (beside / names[1]).write_bytes((mnist / names[1]).read_bytes()[:20])  # killed in the middle
    (beside / names[2].removesuffix(".gz")).write_bytes(b"")  # killed while unpacking
    prepare("mnist", {}, tmp_path)
    assert_holds(load("mnist", {}, tmp_path), {split: images[:, :1, :28, :28] for split, images in IMAGES.items()})
    assert f"GET /{names[0]}" not in asked
    assert f"GET /{names[1]}" in asked
    assert not (tmp_path / ".mnist-download").exists()


def test_a_download_with_a_wrong_checksum_is_refused(tmp_path, mnist, serve, monkeypatch):
    address, _ = serve(mnist)
    monkeypatch.setattr(datasets.MNIST, "mirrors", [address])
    (mnist / datasets.MNIST.resources[0][0]).write_bytes(gzip.compress(b"something else"))
    with pytest.raises(UserError, match=r"(?s)'mnist'.*the download failed: .*train-images.*Missing: MNIST/raw"):
        prepare("mnist", {}, tmp_path)
    assert not (tmp_path / "MNIST").exists()


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
@pytest.mark.parametrize("length", [0, 3, 12, -1])
def test_a_truncated_mnist_file_is_named(tmp_path, mnist, name, length):
    damaged = place_mnist(mnist, tmp_path) / name
    damaged.write_bytes(damaged.read_bytes()[:length])
    with pytest.raises(UserError, match=rf"{name} is damaged or incomplete; delete it"):
        prepare("mnist", {}, tmp_path)


def test_files_of_different_sets_are_refused(tmp_path, mnist):
    raw = place_mnist(mnist, tmp_path)
    (raw / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(7)))
    with pytest.raises(UserError, match="do not belong together"):
        prepare("mnist", {}, tmp_path)


def test_labels_that_are_no_classes_are_refused(tmp_path, mnist):
    raw = place_mnist(mnist, tmp_path)
    (raw / "t10k-labels-idx1-ubyte").write_bytes(idx(np.full(SAMPLES["test"], 10)))
    with pytest.raises(UserError, match="mnist: test labels must be from 0 to 9"):
        prepare("mnist", {}, tmp_path)


def test_a_file_that_may_not_be_read_is_not_called_damaged(tmp_path, mnist, monkeypatch):
    place_mnist(mnist, tmp_path)

    def refuse(path: str) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    monkeypatch.setattr(torchvision_sets, "read_sn3_pascalvincent_tensor", refuse)
    with pytest.raises(PermissionError):
        prepare("mnist", {}, tmp_path)


def test_cifar10_from_files_in_place(tmp_path, cifar):
    with tarfile.open(cifar) as tar:
        tar.extractall(tmp_path, filter="data")
    prepare("cifar10", {}, tmp_path)
    dataset = load("cifar10", {}, tmp_path)
    assert dataset.classes[3] == "class 3"
    assert_holds(dataset, IMAGES)


def test_cifar10_from_an_archive_in_place(tmp_path, cifar):
    (tmp_path / cifar.name).write_bytes(cifar.read_bytes())
    prepare("cifar10", {"train_samples": 20, "test_samples": 10}, tmp_path)
    dataset = load("cifar10", {"train_samples": 20, "test_samples": 10}, tmp_path)
    assert dataset.train.labels.bincount().tolist() == [2] * 10
    assert dataset.test.labels.bincount().tolist() == [1] * 10
    assert (tmp_path / cifar.name).exists()


def test_a_damaged_archive_is_named_and_left_alone(tmp_path, cifar):
    (tmp_path / cifar.name).write_bytes(b"half of it")
    with pytest.raises(UserError, match=r"cifar-10-python\.tar\.gz is damaged"):
        prepare("cifar10", {}, tmp_path)
    assert (tmp_path / cifar.name).read_bytes() == b"half of it"


def test_a_damaged_cifar_file_is_named(tmp_path, cifar):
    with tarfile.open(cifar) as tar:
        tar.extractall(tmp_path, filter="data")
    (tmp_path / "cifar-10-batches-py" / "data_batch_3").write_bytes(b"half of it")
    with pytest.raises(UserError, match="data_batch_3 is damaged"):
        prepare("cifar10", {}, tmp_path)


def test_svhn_from_files_in_place(tmp_path, monkeypatch):
    listed = {}
    for split in ("train", "test"):
        path = tmp_path / f"{split}_32x32.mat"
        labels = np.where(LABELS[split] == 0, 10, LABELS[split])[:, None]  # as SVHN counts
        savemat(path, {"X": IMAGES[split].transpose(2, 3, 1, 0), "y": labels})
        listed[split] = ["", path.name, md5(path)]
    monkeypatch.setattr(datasets.SVHN, "split_list", listed)
    prepare("svhn", {}, tmp_path)
    assert_holds(load("svhn", {}, tmp_path), IMAGES)


def test_without_a_network_one_message_names_folder_files_and_remedy(tmp_path, mnist, monkeypatch):
    monkeypatch.setattr(datasets.FashionMNIST, "mirrors", datasets.MNIST.mirrors)
    with pytest.raises(UserError) as caught:
        prepare("fashion_mnist", {}, tmp_path)
    message = str(caught.value)
    assert str(tmp_path) in message
    assert "FashionMNIST/raw/train-images-idx3-ubyte," in message
    assert "apt install dataset-fashion-mnist" in message
    assert "python -m benchmark data" in message


def test_a_server_that_never_answers_is_given_up_in_time(tmp_path, cifar, monkeypatch):
    monkeypatch.setattr(torchvision_sets, "ANSWER_SECONDS", 0.5)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setattr(
            datasets.CIFAR10, "url", f"http://127.0.0.1:{silent.getsockname()[1]}/cifar-10-python.tar.gz"
        )
        began = time.monotonic()
        with pytest.raises(UserError, match="no answer from http://127"):
            prepare("cifar10", {}, tmp_path)
        assert time.monotonic() - began < 10
