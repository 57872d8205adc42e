"""Common ground: the same resolution and pooling reach every method that is made of the shared parts."""

from typing import Any

import pytest
import torch
from torch import nn

from baselines.backbone import Backbone
from baselines.static import Static
from benchmark.experiment import kinds
from dynalay.classifier import OperatingPoint
from dynalay.meter import Meter
from dynalay.workshop import Workshop

SHAPE, CLASSES = (2, 9, 12), 3
RESNETS = ("resnet", "act", "branchynet", "skipnet", "convnet_aig", "blockdrop", "sdn")
OF_CELLS = ("static", "dynalay", "workshop", "pondernet", "recursive", "deq")


@pytest.mark.parametrize("strides", [(1, 1, 1), (1, 2, 2), (2, 1, 2), (2, 2, 1)])
@pytest.mark.parametrize("channels", [(8, 8, 8), (8, 16, 32)])
def test_a_backbones_stages_have_the_strides_that_it_was_given(strides, channels):
    backbone = Backbone(SHAPE, CLASSES, 14, channels, strides, "maximum").eval()
    features = backbone.stem(torch.randn(2, *SHAPE))
    assert tuple(features.shape[1:]) == backbone.stem_shape
    for stage, shape in zip(backbone.stages, backbone.shapes, strict=True):
        features = stage(features)
        assert tuple(features.shape[1:]) == shape
    torch.testing.assert_close(backbone.head(features), backbone.fc(features.amax(dim=(2, 3))))


def test_a_backbone_has_no_shortcut_that_it_does_not_need():
    backbone = Backbone(SHAPE, CLASSES, 14, (8, 8, 8), (1, 1, 1))
    assert all(unit.downsample is None for stage in backbone.stages for unit in stage)


@pytest.mark.parametrize("method", RESNETS)
def test_methods_on_the_backbone_take_its_ground(method):
    ground: dict[str, Any] = {"channels": (8, 8, 8), "strides": (1, 1, 1), "pool": "maximum"}
    model = kinds.find("method", method).load()(SHAPE, CLASSES, depth=14, **ground).eval()
    meter = Meter(model.components(), 3)
    with torch.no_grad():
        assert model.classify(torch.randn(3, *SHAPE), model.default_point, meter).shape == (3, CLASSES)
    strided = [module for module in model.modules() if isinstance(module, nn.Conv2d) and module.stride != (1, 1)]
    if method != "branchynet":  # whose branches shrink what they see
        assert not strided


@pytest.mark.parametrize("method", OF_CELLS)
def test_methods_of_cells_take_the_same_ground(method):
    parameters: dict[str, Any] = {"channels": (8,), "strides": (1,), "pool": "maximum", "cell": "residual"}
    if method == "workshop":
        parameters["fpi"] = (True,)
    if method == "dynalay":
        parameters["layers"] = (1,)
    model = kinds.find("method", method).load()(SHAPE, CLASSES, **parameters).eval()
    assert any(isinstance(module, nn.AdaptiveMaxPool2d) for module in model.modules())
    assert not any(isinstance(module, nn.AdaptiveAvgPool2d) for module in model.modules())


@pytest.mark.parametrize("cell", ["standardised", "residual"])
def test_a_static_stack_of_one_cell_a_stage_is_the_workshop_versions_direct_pass(cell):
    parameters: dict[str, Any] = {"channels": (6, 8), "strides": (1, 2), "cell": cell}
    static = Static(SHAPE, CLASSES, **parameters).eval()
    dynalay = Workshop(SHAPE, CLASSES, fpi=(True, True), **parameters).eval()
    theirs = dict(dynalay.network.named_parameters()) | dict(dynalay.network.named_buffers())
    for name, value in [*static.network.named_parameters(), *static.network.named_buffers()]:
        place, _, rest = name.partition(".")
        if place == "0":
            source = f"stem.{rest}"
        elif place == "3":
            source = f"head.{rest}"
        else:
            part, _, last = rest.partition(".")
            source = (
                f"transitions.{int(place) - 1}.{last}" if part == "transition" else f"_layers.{int(place) - 1}.{rest}"
            )
        value.data.copy_(theirs[source])
    images = torch.randn(4, *SHAPE)
    with torch.no_grad():
        expected = dynalay.classify(images, OperatingPoint(0, "never"), Meter(dynalay.components(), 4))
    torch.testing.assert_close(static.network(images), expected)
    macs = dict(zip(dynalay.components(), dynalay.component_macs().tolist(), strict=True))
    assert static.component_macs().item() == sum(macs.values()) - macs["agent"]


def test_a_stages_cells_are_not_shared():
    models = [Static(SHAPE, CLASSES, channels=(8,), strides=(1,), cells=cells) for cells in (1, 3)]
    cell = sum(parameter.numel() for name, parameter in models[0].named_parameters() if ".cell." in name)
    sizes = [sum(parameter.numel() for parameter in model.parameters()) for model in models]
    assert sizes[1] - sizes[0] == 2 * cell
