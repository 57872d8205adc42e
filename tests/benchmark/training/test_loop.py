"""The parts of the training loop that can be judged by themselves: schedule, optimiser, random streams, validation."""

import itertools
import math

import pytest
import torch
from torch import nn

from benchmark import data as datasets
from benchmark.data import Dataset, Split
from benchmark.experiment import configuration
from benchmark.experiment.configuration import Recipe
from benchmark.training.batches import batches, evaluation_batch
from benchmark.training.building import build_model, build_optimizer
from benchmark.training.precision import warn_of_emulation
from benchmark.training.progress import Progress
from benchmark.training.schedule import one_cycle, phase_at
from benchmark.training.streams import Streams, derived_seed
from benchmark.training.validation import validate
from dynalay.classifier import Phase
from dynalay.meter import Meter
from tests.benchmark.miniature import Miniature

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def miniature(tmp_path_factory) -> tuple[configuration.Run, Dataset]:
    folder = tmp_path_factory.mktemp("miniature")
    run = configuration.load(Miniature(folder, folder / "data").config).run("digits", "network", 0)
    datasets.prepare(run.dataset_kind, run.dataset_parameters, folder / "data")
    return run, datasets.load(run.dataset_kind, run.dataset_parameters, folder / "data")


@pytest.mark.parametrize("warmup", [0.0, 0.2, 0.5])
def test_the_learning_rate_rises_to_its_peak_and_falls_to_nothing(warmup):
    rates = [one_cycle(step / 1000, warmup) for step in range(1001)]
    peak = rates.index(max(rates))
    assert peak == pytest.approx(1000 * warmup, abs=1)
    assert rates[peak] == pytest.approx(1)
    assert rates[-1] == pytest.approx(0)
    assert all(below < above for below, above in itertools.pairwise(rates[: peak + 1]))
    assert all(above > below for above, below in itertools.pairwise(rates[peak:]))


def test_phases_share_the_steps_and_each_begins_at_zero():
    phases = (Phase("one"), Phase("two", 0.5), Phase("three", 0.8, peak=0.1))
    seen = [phase_at(phases, step / 10) for step in range(10)]
    assert [phase.name for phase, _ in seen] == ["one"] * 5 + ["two"] * 3 + ["three"] * 2
    assert [position for _, position in seen] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 0, 1 / 3, 2 / 3, 0, 0.5])


@pytest.mark.parametrize(("name", "kind"), [("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW)])
def test_only_matrices_and_kernels_decay(name, kind):
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 3))
    frozen = nn.Linear(1, 1).requires_grad_(False)
    optimizer = build_optimizer(nn.ModuleList([model, frozen]), Recipe(optimizer=name, weight_decay=0.3))
    assert type(optimizer) is kind
    decayed, others = optimizer.param_groups
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.3, 0)
    assert {id(p) for p in decayed["params"]} == {id(model[0].weight), id(model[2].weight)}
    assert len(others["params"]) == 4


def test_streams_depend_on_seed_name_step_and_process_and_on_nothing_else():
    def drawn(seed: int, step: int, rank: int = 0, before: int = 0) -> tuple[list[float], list[float], list[float]]:
        streams = Streams(seed, CPU, rank)
        for step_before in range(before):
            streams.seek(step_before)
            torch.rand(7)
        streams.seek(step)
        generators = (streams.augmentation, streams.method, None)
        one, two, three = (torch.rand(3, generator=generator).tolist() for generator in generators)
        return one, two, three

    first = drawn(0, 5)
    assert first == drawn(0, 5, before=5)  # which is why no state of theirs needs saving
    assert len({str(values) for values in first}) == 3
    for other in (drawn(1, 5), drawn(0, 6)):
        assert all(mine != theirs for mine, theirs in zip(first, other, strict=True))
    augmentation, method, layers = drawn(0, 5, rank=1)
    assert augmentation == first[0]  # drawn for the whole batch
    assert method != first[1]
    assert layers != first[2]


def test_every_epoch_visits_all_samples_in_an_order_of_its_own():
    orders = [Streams(3, CPU).order(epoch, 50) for epoch in (0, 1, 0)]
    assert all(order.sort().values.equal(torch.arange(50)) for order in orders)
    assert orders[0].equal(orders[2])
    assert not orders[0].equal(orders[1])
    assert not orders[0].equal(Streams(4, CPU).order(0, 50))


def test_seeds_of_streams_do_not_collide():
    seeds = {derived_seed(seed, name, step) for seed in range(10) for name in ("a", "b") for step in range(100)}
    assert len(seeds) == 2000
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_the_initial_weights_are_the_seeds_and_leave_the_global_stream_alone(miniature):
    run, dataset = miniature
    torch.manual_seed(1)
    first = build_model(run, dataset, CPU).state_dict()
    after = torch.rand(3)
    torch.manual_seed(2)
    second = build_model(run, dataset, CPU).state_dict()
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    torch.manual_seed(1)
    assert torch.rand(3).equal(after)


def test_batches_are_the_normalised_split_in_order(miniature):
    _, dataset = miniature
    images, labels = zip(*batches(dataset.validation, dataset, CPU, size=7), strict=True)
    expected = dataset.validation.images.double() / 255
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (dataset.mean, dataset.std))
    torch.testing.assert_close(torch.cat(images), ((expected - mean) / std).float())
    assert torch.cat(labels).equal(dataset.validation.labels)
    assert len(images) == math.ceil(len(dataset.validation.labels) / 7)


@pytest.mark.parametrize(
    ("side", "images"), [(8, 500), (28, 500), (32, 500), (64, 500), (65, 484), (256, 31), (10_000, 1)]
)
def test_large_images_are_evaluated_in_smaller_batches_and_small_ones_as_ever(side, images):
    assert evaluation_batch((3, side, side)) == images


def test_validation_reads_no_other_split_and_leaves_the_model_training(miniature):
    run, dataset = miniature
    model = build_model(run, dataset, CPU).train()
    untouchable = Split(torch.empty(0), torch.empty(0), torch.empty(0))
    only = Dataset(**{**vars(dataset), "train": dataset.validation, "test": untouchable})
    before = {name: value.clone() for name, value in model.state_dict().items()}
    accuracy, macs, largest = validate(model, only, CPU)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model.eval()
    with torch.no_grad():
        meter = Meter(model.components(), len(dataset.validation.labels))
        images, labels = next(batches(dataset.validation, dataset, CPU))
        logits = model.classify(images, model.default_point, meter)
    assert accuracy == pytest.approx((logits.argmax(dim=1) == labels).double().mean().item())
    assert macs == meter.macs(model.component_macs()).double().mean().item()
    assert largest == logits.abs().max().item()


def test_a_metric_is_averaged_over_the_steps_that_have_it():
    progress = Progress(threads=1)
    for step in range(4):
        values = {"loss": torch.tensor(float(step))} | ({"reward": torch.tensor(2.0)} if step == 3 else {})
        progress.add(values)
    assert progress.step == 4
    assert progress.means() == {"loss": 1.5, "reward": 2.0}
    assert progress.means() == {}  # the next epoch starts from nothing


@pytest.mark.parametrize(
    ("capabilities", "precisions", "warned"),
    [
        ({"avx2": True, "avx512_bf16": False}, {"float32", "bfloat16"}, True),
        ({"avx2": True, "avx512_bf16": False}, {"float32"}, False),
        ({"avx512_bf16": True}, {"bfloat16"}, False),
        ({"amx_bf16": True}, {"bfloat16"}, False),
        ({"neon": True, "bf16": True}, {"bfloat16"}, False),
        ({"neon": True}, {"bfloat16"}, True),
    ],
)
def test_emulated_bfloat16_is_warned_of(monkeypatch, capsys, capabilities, precisions, warned):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    warn_of_emulation(precisions, CPU)
    assert ("warning: this processor has no bfloat16" in capsys.readouterr().err) == warned
    warn_of_emulation(precisions, torch.device("cuda"))
    assert capsys.readouterr().err == ""
