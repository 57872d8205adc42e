"""Bins of predicted and realised gains."""

import numpy as np
import pytest
import torch

from benchmark.evaluation.gains import BINS, binned
from dynalay.trace import Gains


def test_bins_hold_equal_shares_in_the_order_of_predictions():
    layer = torch.tensor([1] * 100 + [3] * 50)
    predicted = torch.cat([torch.randperm(100) / 100, torch.randperm(50) / 50])
    table = binned(Gains(layer, torch.arange(150), predicted, torch.ones(150)))
    assert table.groupby("layer")["decisions"].agg(["size", "min", "max"]).to_numpy().tolist() == [
        [BINS, 10, 10],
        [BINS, 5, 5],
    ]
    assert table.groupby("layer")["predicted"].is_monotonic_increasing.all()
    assert table.loc[table["layer"] == 1, "predicted"].iloc[0] == pytest.approx(0.045)
    assert (table["realised"] == 1).all()
    assert (table["error"] == 0).all()


def test_the_error_is_that_of_a_mean_over_samples():
    """Ten decisions about each sample, all with one outcome, say no more than one decision."""
    generator = torch.Generator().manual_seed(0)
    outcomes = torch.randint(0, 2, (4000,), generator=generator).float()
    once = binned(Gains(torch.ones(4000).long(), torch.arange(4000), torch.zeros(4000), outcomes))
    repeated = Gains(
        torch.ones(40_000).long(),
        torch.arange(4000).repeat_interleave(10),
        torch.zeros(40_000),
        outcomes.repeat_interleave(10),
    )
    tenfold = binned(repeated)
    assert once["error"].to_numpy() == pytest.approx(np.full(BINS, 0.5 / np.sqrt(400)), rel=0.05)
    assert tenfold["error"].to_numpy() == pytest.approx(once["error"].to_numpy(), rel=0.1)
    assert (tenfold["samples"] == 400).all()
