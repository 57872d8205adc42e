"""The agent's network."""

import pytest
import torch

from dynalay.agent import Agent, state_channels


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


def test_tokens_are_seen_as_averages_over_tokens():
    torch.manual_seed(0)
    agent = Agent([5], scalars=2, hidden=8)
    scalars, memory, tokens = torch.randn(4, 2), torch.zeros(4, 8), torch.randn(4, 7, 5)
    torch.testing.assert_close(
        agent(scalars, memory, tokens)[1], agent(scalars, memory, tokens.mean(dim=1))[1], rtol=1e-4, atol=1e-5
    )


def test_a_states_channels_come_first_in_images_and_last_in_tokens():
    assert [state_channels(shape) for shape in ((3, 8, 9), (7, 5), (4,))] == [3, 5, 4]
    with pytest.raises(ValueError, match=r"\(1, 2, 3, 4\)"):
        state_channels((1, 2, 3, 4))
