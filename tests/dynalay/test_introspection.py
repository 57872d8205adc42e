"""What the agent sees."""

import math

import pytest
import torch

from dynalay.introspection import scalar_features, scalars
from dynalay.network import InnerState


def test_the_scalars_by_hand():
    states = (torch.zeros(2, 1), torch.zeros(2, 1))
    state = InnerState(
        states,
        states,
        residuals=torch.tensor([[1.0, 1.0], [1e-3, 1e-9]]),
        converged=torch.tensor([[False, False], [False, True]]),
        logits=torch.tensor([[0.0, 0.0, 0.0], [math.log(6), math.log(3), math.log(1)]]),
    )
    seen = scalars(state, torch.tensor([1]), 3, 4, torch.tensor([1, 2]), torch.tensor([1.0, 0.01]))
    probabilities = [0.6, 0.3, 0.1]
    entropy = -sum(p * math.log(p) for p in probabilities) / math.log(3)
    expected = [0.6, entropy, 0.3, -1.0, -2.0, 0, 1, 0.5, 0, 0, 1, 0.0]
    torch.testing.assert_close(seen, torch.tensor([expected]))
    assert seen.shape[1] == scalar_features(2)


@pytest.mark.parametrize("price", [0.0, 1e-9, 1e-3, 1.0])
def test_all_prices_and_sure_answers_are_shown_as_numbers_of_order_one(price):
    states = (torch.zeros(1, 1),)
    state = InnerState(states, states, torch.zeros(1, 1), torch.ones(1, 1).bool(), torch.tensor([[1e4, 0.0]]))
    seen = scalars(state, torch.tensor([0]), 1, 1, torch.tensor([0]), torch.tensor([price]))
    assert seen.isfinite().all()
    assert seen.abs().max() <= 2


def test_nothing_of_the_main_model_learns_through_what_the_agent_sees():
    states = (torch.zeros(1, 1),)
    logits = torch.zeros(1, 2, requires_grad=True)
    state = InnerState(states, states, torch.ones(1, 1), torch.zeros(1, 1).bool(), logits)
    assert not scalars(state, torch.tensor([0]), 1, 1, torch.tensor([0]), torch.ones(1)).requires_grad
