"""The example: a timm network keeps its function, and gains an agent."""

import copy

import pytest
import timm
import torch

from dynalay import Meter, OperatingPoint
from examples.timm_stages import digits, introspective, report, small_resnet, train


@torch.no_grad()
def test_the_direct_pass_is_the_network_as_timm_made_it():
    torch.manual_seed(0)
    plain = small_resnet().eval()
    model = introspective(copy.deepcopy(plain), (1, 8, 8)).eval()
    images = torch.rand(3, 1, 8, 8)
    meter = Meter(model.components(), 3)
    direct = model.classify(images, OperatingPoint(0, "never"), meter)
    torch.testing.assert_close(direct, plain(images))
    again = model.classify(images, OperatingPoint(2, "always"), Meter(model.components(), 3))
    assert not torch.allclose(again, direct)
    assert sum(p.numel() for p in model.network.parameters()) == sum(p.numel() for p in plain.parameters()) + 96


def test_a_few_steps_train_it_and_the_report_names_every_price(capsys):
    torch.manual_seed(0)
    images, labels = digits()
    model = introspective(small_resnet(), (1, 8, 8))
    train(model, images[:400], labels[:400], steps=10, batch=16)
    report(model, images[1700:1740], labels[1700:1740])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["never:0", "own:0.3", "own:0.03", "own:0.003"]
    assert all("M MACs" in line for line in lines)


def test_a_stage_of_one_block_is_refused():
    with pytest.raises(ValueError, match="two blocks"):
        introspective(timm.create_model("resnet10t"), (3, 32, 32))  # type: ignore[arg-type]
