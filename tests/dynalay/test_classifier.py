"""What every classifier offers its users: logits, predictions with their cost, other resolutions, wrappers."""

import pytest
import torch
from torch import distributed, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from baselines.resnet import ResNet
from baselines.static import Static
from dynalay import AdaptiveClassifier, DynaLay, Meter, OperatingPoint

ADAPTABLE = [DynaLay, ResNet, Static]


def build(method: type[AdaptiveClassifier], shape: tuple[int, ...] = (1, 8, 8)) -> AdaptiveClassifier:
    torch.manual_seed(0)
    return method(shape, 3)


def test_a_price_is_the_agents_operating_point():
    model, images = build(DynaLay), torch.randn(5, 1, 8, 8)
    by_price, by_point = model.predict(images, price=0.02), model.predict(images, point=OperatingPoint(0.02))
    assert torch.equal(by_price.logits, by_point.logits)
    assert torch.equal(by_price.macs, by_point.macs)
    direct = model.predict(images, point=OperatingPoint(0, "never"))
    full = model.predict(images)
    assert (direct.macs < full.macs).all()


def test_a_price_needs_an_agent_and_no_point_beside_it():
    with pytest.raises(ValueError, match="ResNet has no agent"):
        build(ResNet).predict(torch.randn(1, 1, 8, 8), price=0.1)
    with pytest.raises(ValueError, match="give one of them"):
        build(DynaLay).predict(torch.randn(1, 1, 8, 8), price=0.1, point=OperatingPoint(0.1))


def test_predicting_leaves_modes_and_statistics_alone():
    model = build(DynaLay).train()
    frozen = next(module for module in model.modules() if isinstance(module, nn.BatchNorm2d)).eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.predict(torch.randn(4, 1, 8, 8))
    assert model.training
    assert not frozen.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("method", ADAPTABLE)
def test_another_resolution_costs_what_a_model_built_for_it_costs(method):
    small, large = build(method, (1, 8, 8)).eval(), build(method, (1, 16, 12)).eval()
    images = torch.randn(3, 1, 16, 12)
    large.load_state_dict(small.state_dict())
    for _ in range(2):  # the second time from what was counted the first time
        prediction, expected = small.predict(images), large.predict(images)
        assert torch.equal(prediction.logits, expected.logits)
        assert torch.equal(prediction.macs, expected.macs)
    # Its own resolution's costs are untouched.
    own = torch.randn(3, 1, 8, 8)
    meter = Meter(small.components(), 3)
    with torch.no_grad():
        small.classify(own, small.default_point, meter)
    assert torch.equal(small.predict(own).macs, meter.macs(small.component_macs()))


@pytest.fixture
def one_process(tmp_path):
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.parametrize("method", ADAPTABLE)
def test_distributed_data_parallel_trains_it(one_process, method):
    model = build(method)
    images, labels = torch.randn(12, 1, 8, 8), torch.arange(12) % 3
    functional.cross_entropy(model(images), labels).backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    assert expected
    model = build(method)
    wrapped = DistributedDataParallel(model, find_unused_parameters=True)
    functional.cross_entropy(wrapped(images), labels).backward()
    for name, gradient in expected.items():
        torch.testing.assert_close(model.get_parameter(name).grad, gradient)
    # DDP complains in the second step where the first left parameters without a gradient.
    functional.cross_entropy(wrapped(images), labels).backward()
