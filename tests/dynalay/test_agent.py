"""The agent's network."""

import pytest
import torch

from dynalay.agent import Agent


def test_an_untrained_agent_is_undecided_whatever_it_sees():
    scores, memory = Agent([3, 5], scalars=7)(
        torch.randn(4, 7), torch.randn(4, 32), torch.randn(4, 3, 6, 6), torch.randn(4, 5, 2, 3)
    )
    assert scores.shape == (4, 3)
    assert memory.shape == (4, 32)
    assert not scores.any()


def test_states_may_be_images_or_vectors_and_are_seen_as_averages():
    torch.manual_seed(0)
    agent = Agent([3], scalars=2, hidden=8)
    scalars, memory, image = torch.randn(4, 2), torch.zeros(4, 8), torch.randn(4, 3, 6, 6)
    torch.testing.assert_close(
        agent(scalars, memory, image)[1], agent(scalars, memory, image.mean(dim=(2, 3)))[1], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("sees_activations", [True, False])
def test_the_memory_tells_rounds_apart(sees_activations):
    torch.manual_seed(0)
    agent = Agent([3], scalars=2, hidden=8, sees_activations=sees_activations)
    scalars, states = torch.randn(4, 2), [torch.randn(4, 3, 6, 6)] * sees_activations
    _, first = agent(scalars, torch.zeros(4, 8), *states)
    _, second = agent(scalars, first, *states)
    assert (first - second).abs().amax(dim=1).min() > 1e-3


def test_an_agent_without_activations_is_smaller():
    sizes = [sum(p.numel() for p in Agent([16, 32], 5, sees_activations=sees).parameters()) for sees in (False, True)]
    assert sizes[1] - sizes[0] == 48 * 32 + 2 * 48
