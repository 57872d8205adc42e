"""The claims of `config/claims.yaml`, put to the test dataset by dataset.

For each claim and dataset: a verdict (supported, not supported, inconclusive), the effect with its 95% interval and
p-values, or why there is none.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from benchmark.analysis import statistics
from benchmark.analysis.formatting import DIFFERENCE
from benchmark.analysis.outcomes import Outcomes
from benchmark.analysis.statistics import Estimate
from benchmark.analysis.summary import BINS
from benchmark.errors import UserError

Verdict = Literal["supported", "not supported", "inconclusive"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Claim(_Strict):
    """A claim, registered before its test: supported if the metric lies beyond the margin in the direction."""

    quote: str
    hypothesis: str
    metric: Literal[
        "accuracy_difference",
        "compute_saved",
        "difficulty_correlation",
        "easy_excess",
        "advantage_over_random",
        "reevaluation_gain",
        "iteration_gain",
    ]
    direction: Literal["greater", "less"]
    margin: float


class Claims(_Strict):
    """The content of a claims file."""

    method: str
    alpha: Annotated[float, Field(gt=0, lt=1)]
    claims: dict[str, Claim]


class NotMeasured(Exception):
    """A metric that the recorded runs do not give, and why."""


def load(path: Path) -> Claims:
    """Read and check a claims file.

    Raises:
        UserError: it cannot be read, or says something that no claim can.
    """
    try:
        return Claims.model_validate(yaml.safe_load(path.read_text()))
    except OSError as error:
        raise UserError(f"Cannot read the claims {path}: {error.strerror}; name the file with --claims.") from None
    except (yaml.YAMLError, ValidationError) as error:
        raise UserError(f"The claims {path} are not as they should be: {error}") from None


def judge(outcomes: Outcomes, claims: Claims) -> list[dict[str, Any]]:
    """The verdict on each claim for each dataset, as plain JSON values; no list if the experiment lacks the method."""
    if claims.method not in outcomes.methods:
        return []
    return [
        {"claim": name, "method": claims.method, "reference": outcomes.reference, **claim.model_dump(), **verdict}
        for name, claim in claims.claims.items()
        for verdict in _verdicts(outcomes, claims.method, claim, claims.alpha)
    ]


@dataclass(frozen=True)
class _Finding:
    dataset: str
    estimate: Estimate | None
    reason: str | None


def _verdicts(outcomes: Outcomes, method: str, claim: Claim, alpha: float) -> list[dict[str, Any]]:
    """One claim on all datasets, which are one family for Holm's method."""
    findings = [_measured(outcomes, dataset, method, claim) for dataset in outcomes.datasets]
    opposite: Literal["greater", "less"] = "less" if claim.direction == "greater" else "greater"
    p_for, p_against = (
        [np.nan if f.estimate is None else f.estimate.p_value(claim.margin, side) for f in findings]
        for side in (claim.direction, opposite)
    )
    adjusted = zip(statistics.holm(p_for), statistics.holm(p_against), strict=True)
    verdicts = []
    for finding, p, (holm_for, holm_against) in zip(findings, p_for, adjusted, strict=True):
        verdict: Verdict = "inconclusive"
        if holm_for <= alpha / 2:
            verdict = "supported"
        elif holm_against <= alpha / 2:
            verdict = "not supported"
        effect, low, high = (np.nan,) * 3
        if finding.estimate is not None:
            effect = finding.estimate.value
            low, high = np.clip(finding.estimate.interval(), *POSSIBLE.get(claim.metric, DIFFERENCE))
        numbers = {
            "effect": effect, "low": low, "high": high, "p": p, "p_holm": holm_for, "p_against_holm": holm_against
        }  # fmt: skip
        plain = {name: None if np.isnan(number) else float(number) for name, number in numbers.items()}
        verdicts.append(
            {"dataset": finding.dataset, "verdict": verdict, "alpha": alpha, **plain, "reason": finding.reason}
        )
    return verdicts


def _measured(outcomes: Outcomes, dataset: str, method: str, claim: Claim) -> _Finding:
    try:
        estimate = METRICS[claim.metric](outcomes, dataset, method)
    except NotMeasured as reason:
        return _Finding(dataset, None, str(reason))
    if np.isnan(estimate.error):
        return _Finding(dataset, estimate, "one seed gives no interval")
    return _Finding(dataset, estimate, _unmatched(outcomes, dataset, method) if claim.metric in AT_MATCHED else None)


# The metrics.  Each takes (outcomes, dataset, method) and gives an estimate over all expected seeds, or none at all.


def accuracy_difference(outcomes: Outcomes, dataset: str, method: str) -> Estimate:
    """Test accuracy less the reference's, over seeds and samples, at `matched` points."""
    ours = outcomes.correct(dataset, method, matched(outcomes, dataset, method))
    theirs = outcomes.correct(dataset, outcomes.reference, outcomes.best(dataset, outcomes.reference))
    return statistics.crossed_mean(_differences(ours, theirs))


def compute_saved(outcomes: Outcomes, dataset: str, method: str) -> Estimate:
    """The share of the reference's MACs that is not spent, at `matched` points."""
    macs = _complete(outcomes.at(dataset, method, matched(outcomes, dataset, method), "macs"))
    reference = _complete(outcomes.at_best(dataset, outcomes.reference, "macs"))
    return statistics.mean(1 - np.array(macs) / np.array(reference))


def difficulty_correlation(outcomes: Outcomes, dataset: str, method: str) -> Estimate:
    """Spearman's correlation of a test sample's MACs with its difficulty, at the middle of the method's curve."""
    correlations = outcomes.at(dataset, method, middle(outcomes, dataset, method), "difficulty_correlation")
    if all(value is not None and np.isnan(value) for value in correlations):
        raise NotMeasured("no difficulty is known: the dataset has no dial and the reference is missing")
    return statistics.mean(_complete(correlations))


def easy_excess(outcomes: Outcomes, dataset: str, method: str) -> Estimate:
    """MACs on the easiest third over those of the direct pass, less 1, at the middle of the method's curve."""
    direct = _complete(outcomes.at_best(dataset, method, "macs", "never"))
    points = _complete(middle(outcomes, dataset, method))
    bins = outcomes.table("difficulty")
    bins = bins[(bins["dataset"] == dataset) & (bins["method"] == method) & (bins["bin"] < BINS // 3)]
    if bins.empty:
        raise NotMeasured("no difficulty is known, or no sample is easier than the others")
    excess = []
    for seed, point, unit in zip(outcomes.seeds, points, direct, strict=True):
        curve = outcomes.curve(dataset, method, seed)
        name = curve.operating_points[point] if curve is not None else None
        easy = bins[(bins["seed"] == seed) & (bins["operating_point"] == name)]
        excess.append(np.average(easy["macs"], weights=easy["samples"]) / unit - 1)
    return statistics.mean(excess)


def advantage_over_random(outcomes: Outcomes, dataset: str, method: str) -> Estimate:
    """Test accuracy less that of random choices at equal MACs, over seeds and samples; see `Outcomes.advantage`.

    Random choices hang on the sample alone, so that all seeds share their luck: only the samples tell how large it is.
    """
    _recorded(outcomes, dataset, method, "random")
    found = outcomes.advantages(dataset, method, "random")
    return statistics.crossed_mean(_complete(found, "whose compute overlaps with that of random choices"))


def reevaluation_gain(outcomes: Outcomes, dataset: str, method: str) -> Estimate:
    """Test accuracy on the hardest third less the direct pass's, over seeds and samples, at the middle of the curve."""
    hard = (
        outcomes.samples[dataset]["bin"].to_numpy() >= BINS - BINS // 3 if dataset in outcomes.samples else np.zeros(0)
    )
    if not hard.any():
        raise NotMeasured("no difficulty is known, or no sample is harder than the others")
    chosen = outcomes.correct(dataset, method, middle(outcomes, dataset, method))
    return statistics.crossed_mean(_differences(chosen, _at_dearest(outcomes, dataset, method, "never"))[:, hard])


def iteration_gain(outcomes: Outcomes, dataset: str, method: str) -> Estimate:
    """Test accuracy with every round spent on every sample less the direct pass's, over seeds and samples."""
    always = _at_dearest(outcomes, dataset, method, "always")
    return statistics.crossed_mean(_differences(always, _at_dearest(outcomes, dataset, method, "never")))


METRICS: dict[str, Callable[[Outcomes, str, str], Estimate]] = {
    metric.__name__: metric
    for metric in (
        accuracy_difference,
        compute_saved,
        difficulty_correlation,
        easy_excess,
        advantage_over_random,
        reevaluation_gain,
        iteration_gain,
    )
}


#: Metrics that are taken at `matched` points.
AT_MATCHED = ("accuracy_difference", "compute_saved")
#: What a metric can be at all, where it is more or less than a difference of two shares or a correlation can be.
POSSIBLE = {"compute_saved": (-np.inf, 1.0), "easy_excess": (-1.0, np.inf)}


def _unmatched(outcomes: Outcomes, dataset: str, method: str) -> str | None:
    """What is to be said where some seed's matched point is none."""
    reaching = outcomes.reaching_reference(dataset, method)
    lacking = reaching.count(None)
    if not lacking:
        return None
    return f"{lacking}/{len(reaching)} seeds never match the reference on validation, and are taken at their best"


def matched(outcomes: Outcomes, dataset: str, method: str) -> list[int | None]:
    """Each seed's cheapest point as accurate on validation as the same seed's reference; else its most accurate."""
    reaching, best = outcomes.reaching_reference(dataset, method), outcomes.best(dataset, method)
    return [most if point is None else point for point, most in zip(reaching, best, strict=True)]


def middle(outcomes: Outcomes, dataset: str, method: str) -> list[int | None]:
    """Each seed's point in the middle of its curve, where there is most to choose."""
    return [None if curve is None else curve.middle() for curve in outcomes.curves(dataset, method)]


def _at_dearest(outcomes: Outcomes, dataset: str, method: str, policy: str) -> list[np.ndarray | None]:
    """Whether each test sample was right under a control at its most compute."""
    _recorded(outcomes, dataset, method, policy)
    curves = outcomes.curves(dataset, method, policy)
    return outcomes.correct(
        dataset, method, [None if curve is None else len(curve.macs) - 1 for curve in curves], policy
    )


def _recorded(outcomes: Outcomes, dataset: str, method: str, policy: str) -> None:
    runs = zip(outcomes.curves(dataset, method), outcomes.curves(dataset, method, policy), strict=True)
    if any(own is not None and control is None for own, control in runs):
        raise NotMeasured(f"the control {policy!r} was not recorded")


def _complete(values: Sequence[Any], which: str = "there") -> list[Any]:
    """`values`, if no seed lacks one: a verdict is never reached on fewer seeds than were planned."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        raise NotMeasured(f"{len(known)}/{len(values)} seeds {which}")
    return known


def _differences(ours: list[np.ndarray | None], theirs: list[np.ndarray | None]) -> np.ndarray:
    """Differences paired by seed and sample, [seeds, samples]."""
    pairs = zip(ours, theirs, strict=True)
    return np.stack(_complete([None if a is None or b is None else a - b for a, b in pairs]))
