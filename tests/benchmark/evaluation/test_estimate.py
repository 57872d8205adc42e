import time

import pytest
import torch

from benchmark import data
from benchmark.__main__ import main
from benchmark.commands.estimate import wall_time
from benchmark.errors import UserError
from benchmark.evaluation.estimate import estimate, measure, seconds
from benchmark.experiment.configuration import load
from benchmark.training.building import build_model
from dynalay.meter import Meter

CPU = torch.device("cpu")
CONFIGURATION = """
experiment: small
seeds: 3
reference: resnet8
recipe: {epochs: 4, batch_size: 32}
datasets:
  digits: {parameters: {train_samples: 200}}
  cifar10: {parameters: {validation: 0.2, test_samples: 1000}}
methods:
  resnet8: {kind: resnet, parameters: {depth: 8, channels: [8, 8, 8]}}
  resnet14: {kind: resnet, parameters: {depth: 14, channels: [8, 8, 8]}}
"""


@pytest.fixture(autouse=True)
def one_thread():
    """A single thread is timed by its processor time, so other load hardly shows."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(CONFIGURATION)
    return path


def test_a_run_starts_as_soon_as_a_place_is_free():
    assert wall_time([3, 1, 1, 1], jobs=1) == 6
    assert wall_time([3, 1, 1, 1], jobs=2) == 3
    assert wall_time([1, 1, 1, 3], jobs=2) == 4
    assert wall_time([2], jobs=5) == 2


def test_a_given_speed_is_spread_in_proportion_to_macs(path, tmp_path):
    experiment = load(path)
    table = estimate(experiment, tmp_path, CPU, "digits/resnet8=1000").set_index(["dataset", "method"])
    assert table.loc[("digits", "resnet8"), "training_images_per_second"] == pytest.approx(1000)
    for dataset in experiment.datasets:
        facts = data.facts(*experiment.dataset(dataset), tmp_path)
        macs = {
            method: _macs(build_model(experiment.run(dataset, method, 0), facts, CPU)) for method in experiment.methods
        }
        speed = table.loc[dataset]["training_images_per_second"]
        assert speed["resnet8"] / speed["resnet14"] == pytest.approx(macs["resnet14"] / macs["resnet8"])
    # 6 steps of 32 images an epoch; a validation pass each; then one operating point of both splits.
    row, facts = table.loc[("digits", "resnet8")], data.facts(*experiment.dataset("digits"), tmp_path)
    passes = 4 * (6 * 32 + facts.validation / 3) + (facts.validation + facts.test) / 3
    assert row["hours_per_run"] * 3600 == pytest.approx(passes / 1000)
    assert row["hours"] == pytest.approx(3 * row["hours_per_run"])
    assert row["runs"] == 3
    large = table.loc[("cifar10", "resnet8")]
    assert large["data_bytes"] == 51_000 * (3 * 32 * 32 + 8 + 4)


def _macs(model):
    meter = Meter(model.components(), 2)
    model.eval().classify(torch.zeros(2, *model.image_shape), model.default_point, meter)
    return meter.macs(model.component_macs())[0].item()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("digits/resnet8", "give DATASET/METHOD=NUMBER"),
        ("digits/resnet8=-5", "give DATASET/METHOD=NUMBER"),
        ("digits/resnet8=nan", "give DATASET/METHOD=NUMBER"),
        ("digits/resnet9=5", "resnet8"),
        ("digit/resnet8=5", "digits"),
    ],
)
def test_a_speed_that_says_nothing_is_refused(path, tmp_path, given, message):
    with pytest.raises(UserError, match=message):
        estimate(load(path), tmp_path, CPU, given)


def test_a_cpu_is_timed_by_the_work_it_does_and_not_by_waiting():
    def work(times: int) -> None:
        for _ in range(times):
            torch.ones(256, 256) @ torch.ones(256, 256)

    once, often = seconds(lambda: work(20), CPU), seconds(lambda: work(200), CPU)
    assert 4 < often / once < 25
    assert seconds(lambda: time.sleep(0.05), CPU) < 0.02


def test_a_larger_network_is_found_to_be_slower(path, tmp_path):
    experiment = load(path)
    facts = data.facts(*experiment.dataset("digits"), tmp_path)
    small, large = (measure(experiment.run("digits", method, 0), facts, CPU) for method in experiment.methods)
    assert small.training < large.training
    assert small.evaluation < small.training
    assert small.parameters < large.parameters
    assert small.points == 1


def test_the_estimate_is_printed(path, tmp_path, capsys):
    options = ["--config", str(path), "--data", str(tmp_path), "--images-per-second", "cifar10/resnet8=3600"]
    assert main(["estimate", *options, "--device", "cuda", "--jobs", "4"]) == 0
    out = capsys.readouterr().out
    assert "small: 12 runs" in out
    assert "GPU-hours" in out
    assert "hours with 4 at once" in out
    assert main(["estimate", *options, "--jobs", "0"]) == 2
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]  # nothing was downloaded or prepared
