"""Time and memory of training steps and forward passes, on models that use known amounts of both."""

import time

import pandas as pd
import pytest
import torch
from torch import nn

from benchmark.__main__ import main
from benchmark.evaluation.resources import measure
from benchmark.experiment.configuration import Recipe
from dynalay.classifier import AdaptiveClassifier, OperatingPoint
from dynalay.components import Component

MIB = 2**20
CONFIGURATION = """
experiment: small
seeds: 1
reference: static
recipe: {epochs: 1}
datasets: {digits: {parameters: {train_samples: 128}, ground: {channels: [4], strides: [2]}}}
methods:
  static: {parameters: {cell: residual}}
  deq: {parameters: {cell: residual, iterations: 4, points: 2}}
"""


class Worker(nn.Module):
    """Computes for some milliseconds of processor time and keeps some MiB for the backward pass."""

    def __init__(self, milliseconds: int, mebibytes: int) -> None:
        super().__init__()
        self.milliseconds = milliseconds
        self.mebibytes = mebibytes
        self.weight = nn.Parameter(torch.ones(MIB // 4))

    def forward(self, images):
        until = time.process_time() + 1e-3 * self.milliseconds
        while time.process_time() < until:
            pass
        # Autograd saves each vector of a MiB for the gradient of its weight.
        sums = [self.weight @ torch.ones(MIB // 4) for _ in range(self.mebibytes)]
        return torch.stack(sums).sum().expand(len(images), 2)


class Work(AdaptiveClassifier):
    def __init__(self, milliseconds: int, mebibytes: int) -> None:
        super().__init__((1, 2, 2), 2)
        self.worker = Worker(milliseconds, mebibytes)

    def components(self):
        return {"worker": Component(self.worker, (self.image_shape,))}

    def component_macs(self):
        return torch.tensor([1])

    def training_loss(self, images, labels, meter, state):
        return meter("worker", images).sum(), {}

    def operating_points(self, validation):
        return [OperatingPoint(1)]

    def classify(self, images, point, meter):
        return meter("worker", images)


def test_ratios_are_those_of_time_and_memory_that_models_really_take():
    images, labels = torch.zeros(4, 1, 2, 2), torch.zeros(4, dtype=torch.int64)
    table = measure(Work(30, 24), Work(10, 8), images, labels, Recipe(), repeats=3).set_index("work")
    assert table["time_ratio"].to_numpy() == pytest.approx(3, rel=0.35)
    assert table.loc["inference", "milliseconds"] == pytest.approx(30, rel=0.35)
    # Besides what is saved, the gradient exists for a moment, and the sum of several.
    assert 24 <= table.loc["training", "peak_memory_mib"] <= 28
    assert 8 <= table.loc["training", "reference_peak_memory_mib"] <= 12
    assert table.loc["inference", "peak_memory_mib"] <= 2
    assert table.loc["training", "memory_ratio"] == pytest.approx(
        table.loc["training", "peak_memory_mib"] / table.loc["training", "reference_peak_memory_mib"]
    )


@pytest.mark.slow
def test_the_verb_compares_a_run_with_the_reference(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(CONFIGURATION)
    run = ["--config", "small.yaml", "--dataset", "digits", "--method", "deq", "--seed", "0", "--device", "cpu"]
    assert main(["train", *run]) == 0
    assert main(["resources", *run, "--repeats", "2"]) == 0
    assert "of static" in capsys.readouterr().out
    table = pd.read_csv("results/small/digits/deq/seed0/resources.csv")
    assert list(table["work"]) == ["training", "inference"]
    assert (table["memory_ratio"] > 1).all()
