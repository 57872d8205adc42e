"""When a module runs as a CUDA graph, and a clear refusal where there is no GPU."""

import pytest
import torch
from torch import nn

from baselines.static import Static
from dynalay import graphs
from dynalay.graphs import Graphed


def test_only_the_given_numbers_of_rows_are_captured(monkeypatch):
    shapes = []

    def noted(module, inputs):
        shapes.append(tuple(inputs[0].shape))
        return lambda x: -x

    monkeypatch.setattr(graphs, "captured", noted)
    module = Graphed(nn.Identity(), [1, 4])
    for rows, sign in ((1, -1), (2, 1), (4, -1), (4, -1)):
        x = torch.ones(rows, 3)
        assert torch.equal(module(x), sign * x)
    module(torch.ones(4, 5))
    assert shapes == [(1, 3), (4, 3), (4, 5)]


def test_what_cannot_be_captured_runs_as_it_is(monkeypatch):
    attempts = []
    monkeypatch.setattr(graphs, "captured", lambda module, inputs: attempts.append(inputs))
    module = Graphed(nn.ReLU(), [2])
    for _ in range(3):
        assert torch.equal(module(-torch.ones(2, 3)), torch.zeros(2, 3))
    assert len(attempts) == 1


def test_without_a_gpu_graphs_are_refused():
    with pytest.raises(ValueError, match="CUDA graphs need a model on a GPU"):
        Static((1, 8, 8), 3).for_inference(graphed_batches=[1])
