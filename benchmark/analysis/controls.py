"""What an agent's choices are worth: its own accuracy against that of others who decide with the same weights.

The others are the controls that the records hold as policies. Some do not look at the input's progress at all; some
look, but only at the confidence of the answer.
"""

from collections.abc import Sequence

import numpy as np

from benchmark.analysis.curves import Curve
from benchmark.analysis.mixtures import best_mixture, mixture
from benchmark.analysis.outcomes import Outcomes

#: Policies that decide without looking at the sample: fixed rounds and schedules, chance, and the agent's own sequences
#: of actions given to other samples.
BLIND = ("never", "always", "schedule", "random", "shuffled")
#: Policies that stop at a threshold on the answer's confidence.
THRESHOLDS = ("entropy", "max_probability")
#: The agent itself, held to one order of layers for all samples.
ONE_ORDER = ("one_order",)
#: Two floating-point means of the same compute may differ by this much, as a share.
_ROUNDING = 1e-9


def advantage(outcomes: Outcomes, dataset: str, method: str, seed: int, policy: str) -> np.ndarray | None:
    """How much more often a method's own choices are right than one control at equal MACs, by sample: [samples].

    Averaged over those of its operating points whose compute the control can spend; between two of its own, the control
    tosses a coin. The direct pass is every control's cheapest point: random choice that never goes on, a schedule
    without a round. Of schedules, which do not make up one curve, the best mixture counts. None where one of the two is
    missing, or they do not overlap in compute.
    """
    if policy == "schedule":
        return advantage_over_best(outcomes, dataset, method, seed, (policy,))
    own = outcomes.curve(dataset, method, seed)
    controls = _found(outcomes, dataset, method, seed, (policy, "never"))
    if own is None or outcomes.curve(dataset, method, seed, policy) is None:
        return None
    return _over(outcomes, dataset, method, seed, own, controls, mixture(_joined(controls, "macs"), own.macs))


def advantage_over_best(
    outcomes: Outcomes, dataset: str, method: str, seed: int, policies: Sequence[str]
) -> np.ndarray | None:
    """How much more often a method's own choices are right than the best mixture of some policies: [samples].

    The mixture is of operating points on the upper concave envelope of the policies' validation accuracy over MACs,
    mixed to spend what the method's own points spend on test. The direct pass belongs to it. Averaged over the own
    points that cost at least as much as the cheapest of them. None where one of the two is missing.
    """
    own = outcomes.curve(dataset, method, seed)
    controls = _found(outcomes, dataset, method, seed, (*policies, "never"))
    if own is None or not _found(outcomes, dataset, method, seed, policies):
        return None
    macs = _joined(controls, "macs")
    places = np.where(np.isclose(own.macs, macs.min(), rtol=_ROUNDING, atol=0), macs.min(), own.macs)
    chosen = _joined(controls, "validation_macs"), _joined(controls, "validation_accuracy")
    return _over(outcomes, dataset, method, seed, own, controls, best_mixture(*chosen, macs, places))


def _found(outcomes: Outcomes, dataset: str, method: str, seed: int, policies: Sequence[str]) -> list[Curve]:
    curves = (outcomes.curve(dataset, method, seed, policy) for policy in dict.fromkeys(policies))
    return [curve for curve in curves if curve is not None]


def _joined(curves: Sequence[Curve], column: str) -> np.ndarray:
    return np.concatenate([getattr(curve, column) for curve in curves])


def _over(
    outcomes: Outcomes, dataset: str, method: str, seed: int, own: Curve, controls: Sequence[Curve], shares: np.ndarray
) -> np.ndarray | None:
    """The mean, over the own points of which `shares` [points, control points] are known, of own less mixture."""
    known = np.isfinite(shares).all(axis=1)
    if not known.any():
        return None
    weights = shares[known].mean(axis=0)
    used = np.flatnonzero(weights)
    ours = outcomes.right(dataset, method, seed, own.operating_points[known]).mean(axis=0)
    theirs = outcomes.right(dataset, method, seed, _joined(controls, "operating_points")[used])
    return np.asarray(ours - weights[used] @ theirs)


def never_chose(outcomes: Outcomes, dataset: str, method: str) -> bool:
    """Whether a method made no choice in any of its finished runs.

    Either its agent answered every sample directly at every operating point, or its curve is a single point.
    """
    curves = [curve for curve in outcomes.curves(dataset, method) if curve is not None]
    if not curves:
        return False
    if all(len(np.unique(curve.macs)) == 1 for curve in curves):
        return True
    actions = outcomes.actions
    if actions.empty:
        return False
    own = actions[(actions["dataset"] == dataset) & (actions["method"] == method) & (actions["policy"] == "own")]
    return len(own) > 0 and bool((own["action"] == 0).all())
