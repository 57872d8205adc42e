"""Estimators of the agent's gradient, against gradients known by enumeration."""

import itertools

import torch

from dynalay.estimators import self_critical, straight_through


def test_reinforce_has_the_gradient_of_the_expected_reward_whatever_the_baseline():
    """Two rounds of three actions; action 0 ends. All sequences, each weighed with its probability."""
    scores = torch.randn(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    log_probabilities = scores.log_softmax(dim=1)
    sequences = [(0,), *((first, second) for first, second in itertools.product((1, 2), (0, 1, 2)))]
    taken = torch.stack([log_probabilities[list(range(len(actions))), list(actions)].sum() for actions in sequences])
    rewards = torch.randn(len(sequences), dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(taken.exp().sum().item(), 1.0)
    (expected,) = torch.autograd.grad((taken.exp() * rewards).sum(), scores, retain_graph=True)
    for baseline in (0.0, 0.7):
        surrogate = self_critical(taken, rewards, torch.full_like(rewards, baseline))
        (found,) = torch.autograd.grad((taken.exp().detach() * surrogate).sum(), scores, retain_graph=True)
        torch.testing.assert_close(found, expected)


def test_straight_through_is_the_true_reward_wherever_the_path_ends():
    rewards = [torch.tensor([value]) for value in (0.3, 0.1, 0.9, 0.4)]
    for rounds in range(4):
        gates = [torch.tensor([float(round_ < rounds)]) for round_ in range(3)]
        value = rewards[0] + straight_through(gates, rewards)
        torch.testing.assert_close(value, rewards[rounds])


def test_straight_through_ignores_rounds_in_which_nobody_went_on():
    gates = [torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)]
    straight_through(gates, [torch.zeros(2), torch.tensor([1.0, 2.0])]).sum().backward()
    assert gates[0].grad is not None
    assert gates[0].grad.tolist() == [1, 2]
    assert gates[1].grad is None


def test_straight_through_finds_the_better_of_two_actions():
    """One round: going on gains 0.5 in a world where it helps, and loses 0.5 in one where it does not."""
    for gain in (0.5, -0.5):
        score = torch.zeros(1, requires_grad=True)
        gate = 1 + (score.sigmoid() - score.sigmoid().detach())
        straight_through([gate], [torch.zeros(1), torch.tensor([gain])]).backward()
        assert score.grad is not None
        assert (score.grad > 0) == (gain > 0)
