import itertools

import pytest
import torch
from fvcore.nn import FlopCountAnalysis
from torch import nn

from baselines.backbone import Backbone
from baselines.resnet import ResNet


def _by_hand(depth: int, channels: tuple[int, ...], shape: tuple[int, int, int], classes: int) -> tuple[int, int]:
    """Parameters and MACs of the network of He et al. 2016, section 4.2, with projection shortcuts (option B)."""
    in_channels, height, width = shape
    layers = [(in_channels, channels[0], 3, height, width)]
    planes = channels[0]
    for stage, out in enumerate(channels):
        if stage:
            height, width = -(-height // 2), -(-width // 2)
        for _ in range((depth - 2) // 6):
            layers += [(planes, out, 3, height, width), (out, out, 3, height, width)]
            if planes != out:
                layers.append((planes, out, 1, height, width))
            planes = out
    parameters = sum(i * o * k * k + 2 * o for i, o, k, _, _ in layers) + planes * classes + classes
    macs = sum(o * h * w * (i * k * k + 2) for i, o, k, h, w in layers) + planes * height * width + planes * classes
    return parameters, macs


@pytest.mark.parametrize(
    ("depth", "channels", "shape"),
    [
        (20, (16, 32, 64), (3, 32, 32)),
        (8, (8, 16, 32), (1, 8, 8)),
        (14, (6, 10, 12), (2, 13, 11)),
        (32, (16, 32, 64), (3, 32, 32)),
    ],
)
def test_size_and_cost_are_those_of_the_paper(depth, channels, shape):
    model = ResNet(shape, 10, depth=depth, channels=channels)
    parameters, macs = _by_hand(depth, channels, shape, 10)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    assert model.component_macs().tolist() == [macs]


def test_resnet20_has_the_parameters_that_the_paper_gives():
    parameters = sum(parameter.numel() for parameter in ResNet((3, 32, 32), 10, depth=20).parameters())
    assert round(parameters / 1e6, 2) == 0.27


@pytest.mark.parametrize("depth", [8, 14, 20, 32, 44, 56])
def test_depth_counts_the_layers_with_weights_on_the_longest_path(depth):
    backbone = Backbone((3, 8, 8), 10, depth, (4, 8, 16))
    layers = [
        name
        for name, module in backbone.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear) and "downsample" not in name
    ]
    assert len(layers) == depth


def test_cost_equals_a_plain_count_of_the_whole_model():
    model = ResNet((3, 16, 16), 10, depth=14)
    analysis = FlopCountAnalysis(model.network.eval(), torch.zeros(1, 3, 16, 16))
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    assert model.component_macs().item() == analysis.total()


def test_the_parts_compose_to_the_whole_and_have_the_shapes_announced():
    backbone = Backbone((2, 13, 11), 5, 14, (4, 6, 8)).eval()
    images = torch.randn(3, 2, 13, 11)
    features = backbone.stem(images)
    assert features.shape[1:] == backbone.shapes[0]
    for stage, shape in zip(backbone.stages, backbone.shapes, strict=True):
        features = stage(features)
        assert features.shape[1:] == shape
    assert torch.equal(backbone.head(features), backbone(images))


def test_only_the_first_units_of_the_last_two_stages_change_the_resolution():
    stages = Backbone((3, 8, 8), 10, 20, (16, 32, 64)).stages
    strides = [[unit.conv1.stride for unit in stage] for stage in stages]
    assert strides == [[(1, 1)] * 3, [(2, 2), (1, 1), (1, 1)], [(2, 2), (1, 1), (1, 1)]]
    projected = [unit.downsample is not None for unit in itertools.chain(*stages)]
    assert projected == [False] * 3 + [True, False, False] * 2


@pytest.mark.parametrize("depth", [2, 9, 18, 0, -4])
def test_a_depth_that_does_not_exist_is_refused_with_those_that_do(depth):
    with pytest.raises(ValueError, match=r"6n \+ 2; take 8, 14, 20"):
        ResNet((3, 8, 8), 10, depth=depth)


def test_odd_channels_are_refused():
    with pytest.raises(ValueError, match="must be even"):
        ResNet((3, 8, 8), 10, channels=(15, 32, 64))
