"""CUDA graphs give the same answers, where a graph is possible."""

import pytest
import torch
from torch import nn

from baselines.branchynet import BranchyNet
from baselines.static import Static
from dynalay.dynalay import DynaLay
from dynalay.graphs import Graphed, captured

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def test_a_graph_gives_what_the_module_gives_in_memory_of_its_own():
    module = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten()).cuda().eval()
    replay = captured(module, (torch.randn(4, 2, 5, 5, device="cuda"),))
    assert replay is not None
    first, second = torch.randn(2, 4, 2, 5, 5, device="cuda")
    with torch.inference_mode():
        answer = replay(first)
        torch.testing.assert_close(replay(second), module(second))
        torch.testing.assert_close(answer, module(first))


def test_a_module_that_follows_its_data_is_not_captured():
    class Following(nn.Module):
        def forward(self, x):
            return x + 1 if x.sum() > 0 else x - 1

    x = torch.ones(2, 3, device="cuda")
    assert captured(Following(), (x,)) is None
    assert torch.equal(Graphed(Following(), [2])(-x), -x - 1)
    assert torch.cuda.get_sync_debug_mode() == 0
    # A capture that begins and fails would leave the generator of the GPU unusable.
    assert torch.rand(3, device="cuda").isfinite().all()


@pytest.mark.parametrize("kind", [Static, BranchyNet, DynaLay])
@pytest.mark.parametrize("batch", [1, 8])
def test_answers_and_counts_are_those_of_a_model_without_graphs(kind, batch):
    torch.manual_seed(0)
    model = kind((1, 16, 16), 3).cuda().eval()
    graphed = model.for_inference(graphed_batches=[batch])
    images, labels = torch.randn(batch, 1, 16, 16, device="cuda"), torch.zeros(batch, dtype=torch.int64)
    points = model.operating_points([(images, labels.cuda())])
    for point in [model.default_point, *points[:3], *points[-3:]]:
        expected = model.predict(images, point=point)
        for _ in range(2):
            found = graphed.predict(images, point=point)
            torch.testing.assert_close(found.logits, expected.logits, rtol=1e-2, atol=1e-3)
        assert torch.equal(found.macs, expected.macs)
