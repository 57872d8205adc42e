import json
import math
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

from benchmark.__main__ import main
from benchmark.evaluation import records
from benchmark.evaluation.latency import measure
from benchmark.experiment.configuration import load
from benchmark.figures import Evidence, find
from dynalay.classifier import AdaptiveClassifier, OperatingPoint
from dynalay.components import Component

CONFIGURATION = """
experiment: small
seeds: 1
reference: resnet
recipe: {epochs: 1}
datasets: {digits: {parameters: {train_samples: 128}}}
methods:
  resnet: {parameters: {depth: 8, channels: [8, 8, 8]}}
  branchynet: {parameters: {depth: 8, channels: [8, 8, 8], points: 3}}
"""


class Sleep(nn.Module):
    def forward(self, images):
        time.sleep(1e-3 * len(images))
        return torch.zeros(len(images), 2)


class Sleeper(AdaptiveClassifier):
    """Sleeps a millisecond a sample, `knob` times over."""

    def __init__(self):
        super().__init__((1, 2, 2), 2)
        self.sleep: nn.Module = Sleep()

    def components(self):
        return {"sleep": Component(self.sleep, (self.image_shape,))}

    def training_loss(self, images, labels, meter, state):
        raise NotImplementedError

    def operating_points(self, validation):
        return [OperatingPoint(1), OperatingPoint(4)]

    def classify(self, images, point, meter):
        for _ in range(int(point.knob)):
            logits = meter("sleep", images)
        return logits


def test_times_are_per_sample_whatever_the_batch():
    model = Sleeper().eval()
    passes = {1: torch.zeros(5, 1, 2, 2), 4: torch.zeros(10, 1, 2, 2)}
    table = measure(model, model.operating_points([]), passes, repeats=3)
    assert list(zip(table["batch_size"], table["operating_point"], strict=True)) == [
        (size, point) for size in (1, 4) for point in ("own:1", "own:4")
    ]
    assert (table["milliseconds_per_sample"] >= table["knob"]).all()
    # Other load makes a sleep longer, hardly shorter than the sleep of four times the length.
    by_knob = table.groupby("knob")["milliseconds_per_sample"].min()
    assert by_knob[4] > 1.5 * by_knob[1]
    assert (table["lower_quartile"] <= table["milliseconds_per_sample"]).all()
    assert (table["milliseconds_per_sample"] <= table["upper_quartile"]).all()


def test_percentiles_are_of_batches_and_waiting_threads_are_not_busy():
    model = Sleeper().eval()
    points = model.operating_points([])
    table = measure(model, points, {1: torch.zeros(5, 1, 2, 2), 4: torch.zeros(10, 1, 2, 2)}, repeats=3)
    assert table["calls"].tolist() == [15, 15, 9, 9]  # 5 batches of one, 3 of up to four, three times
    assert (table["p50"] <= table["p95"]).all()
    assert (table["p95"] <= table["p99"]).all()
    assert (table["p50"] >= table["batch_size"] * table["knob"]).all()  # milliseconds
    assert (table["busy_threads"] < 0.9).all()
    assert (table["threads"] == torch.get_num_threads()).all()


class Hog(nn.Module):
    def forward(self, images):
        return torch.ones(len(images), 16 * 2**20).sum(dim=1, keepdim=True).expand(-1, 2)  # 64 MiB a sample


class Hungry(Sleeper):
    def __init__(self):
        super().__init__()
        self.sleep = Hog()


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux resets the peak of memory")
def test_peak_memory_is_that_of_the_batch_and_no_earlier_one():
    model = Hungry().eval()
    passes = {4: torch.zeros(4, 1, 2, 2), 1: torch.zeros(4, 1, 2, 2)}
    peak = measure(model, [OperatingPoint(1)], passes, repeats=1).set_index("batch_size")["peak_memory_mib"]
    assert peak[4] - peak[1] == pytest.approx(192, abs=48)


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    """A trained and evaluated experiment: its folder, and the options that name it and its folders."""
    folder = tmp_path_factory.mktemp("latency")
    (folder / "small.yaml").write_text(CONFIGURATION)
    options = ["--config", str(folder / "small.yaml"), "--data", str(folder / "data"), "--results", str(folder)]
    for method in ("resnet", "branchynet"):
        for verb in ("train", "evaluate"):
            assert (
                main([verb, *options, "--dataset", "digits", "--method", method, "--seed", "0", "--device", "cpu"]) == 0
            )
    return folder, options


def test_every_recorded_operating_point_of_the_curve_is_timed_and_drawn(experiment, capsys):
    folder, options = experiment
    timing = ["--batch-sizes", "1", "64", "--samples", "8", "--repeats", "2", "--threads", "2", "--device", "cpu"]
    for method in ("resnet", "branchynet"):
        run = ["--dataset", "digits", "--method", method, "--seed", "0"]
        assert main(["latency", *options, *run, *timing]) == 0
        table = pd.read_csv(folder / "small/digits" / method / "seed0/latency.csv")
        recorded = records.read(folder / "small/digits" / method / "seed0/records.parquet")
        for size in (1, 64):
            timed = table[table["batch_size"] == size]
            curve = recorded.loc[recorded["policy"] == "own", "operating_point"].unique()
            assert sorted(timed["operating_point"]) == sorted(curve)
        assert (table["milliseconds_per_sample"] > 0).all()
        assert set(table["threads"]) == {2}  # as given, whatever the environment says
        assert table["device"].notna().all()
        described = json.loads((folder / "small/digits" / method / "seed0/run.json").read_text())["code"]
        assert table["commit"].str.startswith(described["commit"] or "").all()
        assert table["knob"].isna().all() == (method == "resnet")
    assert "lack" not in capsys.readouterr().out
    assert main(["summary", *options[:2], *options[4:]]) == 0
    shown = find("accuracy_latency").data(Evidence(load(folder / "small.yaml"), folder))
    assert set(shown["method"]) == {"resnet", "branchynet"}
    assert shown["accuracy"].between(0, 1).all()


def test_operating_points_without_records_are_told(experiment, capsys):
    folder, options = experiment
    path = folder / "small/digits/resnet/seed0/records.parquet"
    kept = path.read_bytes()
    path.unlink()
    run = ["--dataset", "digits", "--method", "resnet", "--seed", "0", "--device", "cpu"]
    try:
        assert main(["latency", *options, *run, "--batch-sizes", "1", "--samples", "1", "--repeats", "1"]) == 0
    finally:
        path.write_bytes(kept)
    assert f"lack own:{math.nan:g}" in capsys.readouterr().out


def test_a_run_that_is_not_trained_is_an_error_in_one_line(experiment, tmp_path, capsys):
    _, options = experiment
    run = ["--dataset", "digits", "--method", "resnet", "--seed", "0", "--device", "cpu"]
    assert main(["latency", *options[:4], "--results", str(tmp_path), *run]) == 2
    assert "is not trained" in capsys.readouterr().err
