"""A model is built only where the cost of all that it runs is known."""

import pytest
import torch

from benchmark import data as datasets
from benchmark.commands.check import check
from benchmark.errors import UserError
from benchmark.experiment import configuration, kinds
from benchmark.training.building import build_model
from dynalay.components import Component
from tests.benchmark.miniature import Miniature


class Distances(torch.nn.Module):
    def forward(self, x):
        return torch.cdist(x.flatten(2), x.flatten(2)).flatten(1)


def test_a_method_with_an_operator_of_unknown_cost_is_neither_checked_nor_trained(tmp_path, monkeypatch):
    run = configuration.load(Miniature(tmp_path, tmp_path / "data").config).run("digits", "network", 0)
    datasets.prepare(run.dataset_kind, run.dataset_parameters, tmp_path / "data")
    dataset = datasets.load(run.dataset_kind, run.dataset_parameters, tmp_path / "data")
    method = kinds.find("method", run.method_kind).load()
    monkeypatch.setattr(method, "components", lambda self: {"network": Component(Distances(), (self.image_shape,))})
    with pytest.raises(UserError, match="component 'network': aten::cdist"):
        build_model(run, dataset, torch.device("cpu"))
    with pytest.raises(UserError, match="component 'network': aten::cdist"):
        check(run, dataset)
