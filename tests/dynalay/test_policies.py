"""The agent's policy against hand computation, and the controls by hand."""

import math

import torch
from torch import Tensor

from dynalay import policies
from dynalay.meter import Meter
from dynalay.network import InnerState
from dynalay.policies import AgentPolicy


def inner_state(samples: int = 3, layers: int = 2, classes: int = 2) -> InnerState:
    z = tuple(torch.zeros(samples, 1) for _ in range(layers))
    return InnerState(
        z, z, torch.ones(samples, layers), torch.zeros(samples, layers).bool(), torch.zeros(samples, classes)
    )


class Scores(Meter):
    """A meter whose agent gives each sample fixed scores, and counts its rounds in its memory."""

    def __init__(self, scores: Tensor) -> None:
        self.scores = scores

    def __call__(self, name: str, *inputs: Tensor, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
        seen, memory = inputs
        assert name == "agent"
        assert rows is not None
        assert len(seen) == len(memory) == len(rows)
        return self.scores[rows], memory + 1


def agent_policy(scores, allowed=(True, True, True), generator=None):
    return AgentPolicy(torch.tensor(allowed), torch.full((len(scores),), 0.1), 2, 4, False, Scores(scores), generator)


def test_the_greedy_agent_takes_the_best_allowed_action_and_counts_redundant_ones():
    scores = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 9.0], [0.0, 3.0, 1.0]])
    state = inner_state()
    state.converged[2, 0] = True
    everyone = torch.arange(3)
    policy = agent_policy(scores)
    assert policy(state, everyone, 1, torch.zeros(3).long()).tolist() == [0, 2, 1]
    assert policy.redundant.tolist() == [0, 0, 1]
    masked = agent_policy(scores, allowed=(True, True, False))
    assert masked(state, everyone, 1, torch.zeros(3).long()).tolist() == [0, 1, 1]


def test_memory_belongs_to_samples_and_not_to_rows():
    policy = agent_policy(torch.zeros(3, 3))
    state, previous = inner_state(), torch.zeros(3).long()
    policy(state, torch.tensor([0, 2]), 1, previous)
    policy(state, torch.tensor([2]), 2, previous)
    assert policy.memory[:, 0].tolist() == [1, 0, 2]


def test_what_a_policy_gradient_needs_is_noted_for_each_sample():
    scores = torch.tensor([[0.0, 1.0, 5.0], [2.0, -1.0, 5.0]], requires_grad=True)
    policy = agent_policy(scores, allowed=(True, True, False), generator=torch.Generator().manual_seed(0))
    state, previous = inner_state(2), torch.zeros(2).long()
    state.converged[:, 0] = True
    first = policy(state, torch.tensor([0, 1]), 1, previous)
    second = policy(state, torch.tensor([1]), 2, previous)
    distributions = scores[:, :2].softmax(dim=1)
    entropy = -(distributions * distributions.log()).sum(dim=1)
    expected = torch.stack(
        [distributions[0, first[0]].log(), distributions[1, first[1]].log() + distributions[1, second[0]].log()]
    )
    torch.testing.assert_close(policy.log_probability, expected)
    torch.testing.assert_close(policy.entropy, torch.stack([entropy[0], 2 * entropy[1]]))
    assert policy.decisions.tolist() == [1, 2]
    chosen = [int(first[0] == 1), int(first[1] == 1) + int(second[0] == 1)]
    assert policy.redundant.tolist() == chosen
    (gradient,) = torch.autograd.grad((policy.log_probability + policy.entropy).sum(), scores)
    assert gradient.isfinite().all()
    assert gradient[:, 2].tolist() == [0, 0]


def test_actions_are_sampled_with_their_probabilities_and_none_that_is_masked():
    count = 20_000
    scores = torch.tensor([0.0, 1.0, 3.0, -1.0]).expand(count, 4)
    policy = agent_policy(scores, (True, True, False, True), torch.Generator().manual_seed(0))
    actions = policy(inner_state(count, layers=3), torch.arange(count), 1, torch.zeros(count).long())
    found = torch.bincount(actions, minlength=4) / count
    expected = torch.tensor([0.0, 1.0, -torch.inf, -1.0]).softmax(dim=0)
    assert found[2] == 0
    assert ((found - expected).abs() < 4 * (expected * (1 - expected) / count).sqrt() + 1e-9).all()


def test_the_warm_up_draws_all_layers_that_may_be_solved_equally_often_and_never_answers():
    policy = policies.uniform(torch.tensor([True, True, False, True]), torch.Generator().manual_seed(0))
    rows = torch.arange(6000)
    counts = torch.bincount(policy(inner_state(), rows, 1, rows), minlength=4)
    assert counts[[0, 2]].tolist() == [0, 0]
    assert abs(counts[1] - 3000) < 4 * math.sqrt(6000 / 4)


def test_random_choice_depends_on_the_input_alone():
    images = torch.randn(50, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    order = torch.randperm(50, generator=torch.Generator().manual_seed(1))[:20]
    whole, part = policies.random(images, (1, 3), 0.6), policies.random(images[order], (1, 3), 0.6)
    last = policies.random(images.to(memory_format=torch.channels_last), (1, 3), 0.6)
    state, previous = inner_state(), torch.zeros(50).long()
    for round_ in (1, 2, 3):
        expected = whole(state, torch.arange(50), round_, previous)
        assert torch.equal(part(state, torch.arange(20), round_, previous), expected[order])
        assert torch.equal(whole(state, torch.tensor([7, 9]), round_, previous), expected[[7, 9]])
        assert torch.equal(last(state, torch.arange(50), round_, previous), expected)
        assert expected.unique().tolist() == [0, 1, 3]


def test_random_choice_has_the_right_frequencies_and_rounds_that_know_nothing_of_each_other():
    count, continuing = 20_000, 0.3
    images = torch.randint(0, 256, (count, 1, 3, 3), generator=torch.Generator().manual_seed(0)) / 255
    policy = policies.random(images, (1, 2, 5), continuing)
    first, second = (policy(inner_state(), torch.arange(count), round_, torch.zeros(count).long()) for round_ in (1, 2))
    error = 4 * math.sqrt(0.25 / count)
    for actions in (first, second):
        assert abs((actions > 0).float().mean() - continuing) < error
        for layer in (1, 2, 5):
            assert abs((actions == layer).float().mean() - continuing / 3) < error
    assert abs(((first > 0) & (second > 0)).float().mean() - continuing**2) < error


def test_random_choice_gives_every_binary_image_a_fate_of_its_own():
    images = (torch.rand(2000, 1, 6, 6, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    assert len(policies.image_hash(images).unique()) == len(images.unique(dim=0)) == 2000
    everyone = torch.arange(2000)
    for continuing in (0.15, 0.3, 0.5, 0.7, 0.85):
        policy = policies.random(images, (1, 2), continuing)
        for round_ in (1, 2, 3):
            share = (policy(inner_state(), everyone, round_, everyone) > 0).double().mean()
            assert abs(share - continuing) < 0.02


def test_a_hash_tells_places_apart_and_forgives_the_last_bit_of_a_pixel():
    images = torch.eye(9).view(9, 1, 3, 3)
    assert len(policies.image_hash(images).unique()) == 9
    assert torch.equal(policies.image_hash(images), policies.image_hash(images * (1 + 2**-23)))


def test_a_schedule_takes_its_layers_in_order_and_then_answers():
    policy = policies.schedule((3, 1))
    found = [policy(inner_state(), torch.arange(2), round_, torch.zeros(2).long()).tolist() for round_ in (1, 2, 3)]
    assert found == [[3, 3], [1, 1], [0, 0]]


def test_shuffled_sequences_come_as_often_as_the_agent_took_them_and_depend_on_the_image_alone():
    images = torch.rand(4000, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    taken: list[tuple[tuple[int, ...], int]] = [((), 100), ((2,), 50), ((1, 2), 50)]
    policy, rows = policies.shuffled(images, taken), torch.arange(4000)
    found = torch.stack([policy(inner_state(), rows, round_, rows) for round_ in (1, 2, 3, 4)], dim=1)
    for layers, count in taken:
        same = (found == torch.tensor([*layers, *[0] * (4 - len(layers))])).all(dim=1)
        assert abs(same.double().mean() - count / 200) < 4 * math.sqrt(0.25 / 4000)
    part = policies.shuffled(images[7:9], taken)
    assert torch.equal(part(inner_state(), torch.arange(2), 1, rows), found[7:9, 0])
    nobody = policies.shuffled(images[:3], [((), 5)])
    assert nobody(inner_state(), torch.arange(3), 2, rows).tolist() == [0, 0, 0]


def test_the_probability_threshold_stops_at_sure_answers():
    state = inner_state(2)
    state.logits.copy_(torch.tensor([[math.log(9), 0.0], [0.0, 0.0]]))
    for threshold, expected in ((0.95, [1, 1]), (0.8, [0, 1]), (0.4, [0, 0])):
        policy = policies.probability_threshold((1, 2), threshold)
        assert policy(state, torch.arange(2), 1, torch.zeros(2).long()).tolist() == expected


def test_always_sweeps_upwards_for_so_many_rounds():
    state, rows, previous = inner_state(), torch.arange(2), torch.zeros(2).long()
    policy = policies.always((1, 3), rounds=3)
    assert [policy(state, rows, round_, previous).tolist() for round_ in (1, 2, 3, 4)] == [
        [1] * 2,
        [3] * 2,
        [1] * 2,
        [0] * 2,
    ]
    assert policies.always((1, 3), rounds=0)(state, rows, 1, previous).tolist() == [0, 0]


def test_the_entropy_threshold_is_a_share_of_the_entropy_of_chance():
    state = inner_state(3)
    # Entropies of (0.5, 0.5), (0.9, 0.1) and (1, 0), over log 2.
    state.logits.copy_(torch.tensor([[0.0, 0.0], [math.log(9), 0.0], [torch.inf, 0.0]]).clamp_max(200))
    share = -(0.9 * math.log(0.9) + 0.1 * math.log(0.1)) / math.log(2)
    rows, previous = torch.arange(3), torch.zeros(3).long()
    for threshold, expected in (
        (1.01, [0, 0, 0]),
        (share + 0.01, [2, 0, 0]),
        (share - 0.01, [2, 2, 0]),
        (0.0, [2, 2, 2]),
    ):
        assert policies.entropy_threshold((1, 2), threshold)(state, rows, 2, previous).tolist() == expected
    assert policies.entropy_threshold((1, 2), 0.0)(state, torch.tensor([2]), 3, previous).tolist() == [1]
