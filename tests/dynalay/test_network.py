"""The network's two operations against slow references that treat one sample at a time."""

from collections import Counter

import pytest
import torch
from torch import Tensor, nn

from dynalay.cells import CELLS
from dynalay.fixed_point import SOLVERS
from dynalay.fpi import FPILayer
from dynalay.meter import Meter
from dynalay.network import FPINetwork, InnerState

TOLERANCE, CAP = 3e-2, 6


def build(solved=(True, True, True), cell="residual", solver="picard", gradient="unrolled") -> FPINetwork:
    torch.manual_seed(0)
    layers = [
        FPILayer(
            CELLS[cell](8),
            solver=SOLVERS[solver](),
            gradient=gradient,
            relative_tolerance=TOLERANCE,
            max_iterations=CAP,
        )
        for _ in solved
    ]
    return FPINetwork(
        stem=nn.Conv2d(2, 8, 3, padding=1),
        transitions=[nn.Identity(), *(nn.Conv2d(8, 8, 3, 2, padding=1) for _ in solved[1:])],
        layers=layers,
        head=nn.Sequential(nn.Flatten(), nn.Linear(32, 3)),
        input_shape=(2, 8, 8),
        solved=solved,
    ).eval()


@pytest.fixture
def images() -> Tensor:
    # Of different scales, so that samples converge at different speeds.
    scales = torch.tensor([0.1, 1.0, 3.0, 10.0, 0.5]).view(-1, 1, 1, 1)
    return scales * torch.randn(5, 2, 8, 8, generator=torch.Generator().manual_seed(1))


def run(network: FPINetwork, images: Tensor, *choices: tuple[int, list[int]]) -> tuple[InnerState, Meter]:
    meter = Meter(network.components(), len(images))
    state = network.direct(images, meter)
    for layer, rows in choices:
        state = network.re_evaluate(state, layer, torch.tensor(rows), meter)
    return state, meter


class Reference:
    """One sample, by plain loops."""

    def __init__(self, network: FPINetwork, image: Tensor) -> None:
        self.network = network
        self.cells: list[nn.Module] = [layer.cell for layer in network.layers]
        self.executions: Counter[str] = Counter(stem=1, head=1)
        self.u: list[Tensor] = []
        self.z: list[Tensor] = []
        self.residuals = [1.0] * len(self.cells)
        self.converged = [False] * len(self.cells)
        hidden = network.stem(image[None])
        for number, cell in enumerate(self.cells):
            self.u.append(network.transitions[number](hidden))
            hidden = cell(torch.zeros_like(self.u[-1]), self.u[-1])
            self.z.append(hidden)
            self.executions.update([f"layer{number + 1}.transition", f"layer{number + 1}.cell"])

    def evaluate(self, layer: int, start: Tensor) -> None:
        self.z[layer] = self.cells[layer](start, self.u[layer])
        self.residuals[layer] = float((self.z[layer] - start).norm() / self.z[layer].norm())
        self.converged[layer] = self.residuals[layer] <= TOLERANCE
        self.executions[f"layer{layer + 1}.cell"] += 1

    def re_evaluate(self, chosen: int) -> None:
        for _ in range(CAP):
            self.evaluate(chosen, self.z[chosen])
            if self.converged[chosen]:
                break
        for upper in range(chosen + 1, len(self.cells)):
            self.u[upper] = self.network.transitions[upper](self.z[upper - 1])
            self.executions[f"layer{upper + 1}.transition"] += 1
            conventional = not self.network.solved[upper]
            self.evaluate(upper, torch.zeros_like(self.u[upper]) if conventional else self.z[upper])
        self.executions["head"] += 1

    @property
    def logits(self) -> Tensor:
        return self.network.head(self.z[-1])


@torch.no_grad()
def test_the_direct_pass_runs_every_component_once_from_zero(images):
    network = build()
    state, meter = run(network, images)
    assert (meter.executions == 1).all()
    torch.testing.assert_close(state.residuals, torch.ones(5, 3))
    assert not state.converged.any()
    for number, image in enumerate(images):
        reference = Reference(network, image)
        torch.testing.assert_close(state.logits[number], reference.logits[0], rtol=1e-4, atol=1e-5)


CHOICES: list[list[tuple[int, list[int]]]] = [
    [(0, [3, 1])],
    [(2, [0])],
    [(1, [4, 2, 0]), (0, [2, 3]), (2, [0, 1, 2, 3, 4]), (1, [1, 2])],
]


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("solved", [(True, True, True), (True, False, True), (False, True, False)])
@pytest.mark.parametrize("choices", CHOICES, ids=len)
def test_re_evaluation_is_what_a_loop_over_single_samples_does(images, choices, solved, gradients):
    network = build(solved)
    with torch.set_grad_enabled(gradients):
        state, meter = run(network, images, *choices)
    iterations = set()
    with torch.no_grad():
        for number, image in enumerate(images):
            reference = Reference(network, image)
            for layer, rows in choices:
                if number in rows:
                    reference.re_evaluate(layer)
            assert dict(zip(meter.components, meter.executions[number].tolist(), strict=True)) == reference.executions
            iterations.add(reference.executions["layer1.cell"] + reference.executions["layer2.cell"])
            torch.testing.assert_close(state.logits[number], reference.logits[0], rtol=1e-3, atol=1e-4)
            torch.testing.assert_close(state.residuals[number], torch.tensor(reference.residuals), rtol=1e-2, atol=1e-5)
            assert state.converged[number].tolist() == reference.converged
            for layer in range(3):
                torch.testing.assert_close(state.inputs[layer][number], reference.u[layer][0], rtol=1e-3, atol=1e-4)
                torch.testing.assert_close(state.states[layer][number], reference.z[layer][0], rtol=1e-3, atol=1e-4)
    assert len(iterations) > 1 or choices == CHOICES[1], "a test of per-sample convergence needs samples that differ"


@pytest.mark.parametrize("gradients", [False, True])
def test_re_evaluation_touches_the_chosen_rows_and_the_layers_from_the_chosen_one_up(images, gradients):
    network = build()
    with torch.set_grad_enabled(gradients):
        before, meter = run(network, images)
        old = before.copy()
        after = network.re_evaluate(before, 1, torch.tensor([3, 1]), meter)
    others = [0, 2, 4]
    for name in ("inputs", "states"):
        for layer, (was, became) in enumerate(zip(getattr(old, name), getattr(after, name), strict=True)):
            assert torch.equal(became[others], was[others])
            touched = layer >= 1 if name == "states" else layer == 2
            assert torch.equal(became[[1, 3]], was[[1, 3]]) == (not touched), (name, layer)
    assert torch.equal(after.logits[others], old.logits[others])
    assert not torch.equal(after.logits[[1, 3]], old.logits[[1, 3]])
    assert torch.equal(after.residuals[:, 0], old.residuals[:, 0])
    assert torch.equal(after.residuals[others], old.residuals[others])
    if gradients:
        for was, still in zip(old.states, before.states, strict=True):
            assert torch.equal(was, still), "the graph needs the old state"


@pytest.mark.parametrize("gradient", ["implicit", "phantom", "unrolled"])
def test_the_whole_network_learns_through_a_re_evaluation(images, gradient):
    network = build(gradient=gradient)
    state, _ = run(network, images, (0, [0, 1, 2, 3, 4]))
    state.logits.square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


@torch.no_grad()
def test_the_updates_of_a_solver_that_computes_are_counted(images):
    network = build(solver="anderson")
    everyone = list(range(5))
    _, meter = run(network, images, (0, everyone))
    executions = dict(zip(meter.components, meter.executions.T.tolist(), strict=True))
    assert {"layer1.update", "layer2.update", "layer3.update"} <= executions.keys()
    # One evaluation in the direct pass, then n of the solve, between which stand n - 1 updates.
    assert executions["layer1.update"] == [count - 2 for count in executions["layer1.cell"]]
    assert max(executions["layer1.update"]) > 0
    assert executions["layer2.update"] == [0] * 5


def test_a_copy_can_be_overwritten_without_harm(images):
    network = build()
    with torch.no_grad():
        state, meter = run(network, images)
        logits = state.logits.clone()
        network.re_evaluate(state.copy(), 0, torch.arange(5), meter)
    assert torch.equal(state.logits, logits)


def test_the_jacobian_norm_falls_when_it_is_trained_on(images):
    network = build()
    optimizer = torch.optim.Adam(network.layers[1].parameters(), lr=0.01)
    norms = []
    for _ in range(5):
        state, meter = run(network, images)
        norm = network.jacobian_norm(state, 1, meter, torch.Generator().manual_seed(0)).mean()
        assert meter.executions[:, list(meter.components).index("layer2.cell")].tolist() == [2] * 5
        optimizer.zero_grad()
        norm.backward()
        optimizer.step()
        norms.append(norm.item())
    assert norms[-1] < 0.9 * norms[0]


def test_lists_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="2 layers need as many"):
        FPINetwork(nn.Identity(), [nn.Identity()], [FPILayer(nn.Identity())] * 2, nn.Identity(), (1,))


def test_in_training_too_a_re_evaluation_normalises_with_the_statistics_of_direct_passes(images):
    network, norm = build(), nn.BatchNorm2d(8)
    network.transitions[1] = nn.Sequential(network.transitions[1], norm)
    network.train()
    state, meter = run(network, images)
    assert norm.running_mean is not None
    after_direct = norm.running_mean.clone()
    assert after_direct.abs().sum() > 0
    together = network.re_evaluate(state, 0, torch.tensor([1, 2, 4]), meter)
    assert torch.equal(norm.running_mean, after_direct)
    assert norm.training
    alone = network.re_evaluate(state, 0, torch.tensor([2]), meter)
    torch.testing.assert_close(together.logits[2], alone.logits[2], rtol=1e-4, atol=1e-5)
    network.eval()
    network.re_evaluate(state, 0, torch.tensor([2]), meter)
    assert not norm.training
