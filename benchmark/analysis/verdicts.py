"""The claims of `config/claims.yaml`, tested on each dataset.

For each claim and dataset: a verdict (supported, not supported, inconclusive, not tested), the effect with its 95%
interval and p-values, or why there is none.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from benchmark.analysis import statistics
from benchmark.analysis.controls import never_chose
from benchmark.analysis.formatting import probability, significant
from benchmark.analysis.measures import MEASURES, NotMeasured, points, unmatched
from benchmark.analysis.outcomes import Outcomes
from benchmark.analysis.static_networks import Frontier, best_static
from benchmark.analysis.statistics import Estimate
from benchmark.errors import UserError

Verdict = Literal["supported", "not supported", "inconclusive", "not tested"]
Direction = Literal["greater", "less"]
NEVER_CHOSE = "the agent made no choice: it answered every sample directly, or has a single operating point"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Claim(_Strict):
    """A claim, registered before its test: supported if the metric lies beyond the margin in the direction.

    Where it `requires` another claim, it is supported only where both are shown to hold (an intersection-union test).
    """

    quote: str
    hypothesis: str
    metric: str
    direction: Direction
    margin: float
    requires: str | None = None

    @field_validator("metric")
    @classmethod
    def _known(cls, metric: str) -> str:
        if metric not in MEASURES:
            raise ValueError(f"no metric {metric!r}; there are {', '.join(MEASURES)}")
        return metric


class Claims(_Strict):
    """The content of a claims file."""

    method: str
    alpha: Annotated[float, Field(gt=0, lt=1)]
    claims: dict[str, Claim]

    @model_validator(mode="after")
    def _required_claims_exist(self) -> "Claims":
        for name, claim in self.claims.items():
            if claim.requires is not None and (claim.requires == name or claim.requires not in self.claims):
                raise ValueError(f"{name} requires {claim.requires!r}, which is not another claim")
        return self


def load(path: Path) -> Claims:
    """Read and check a claims file.

    Raises:
        UserError: it cannot be read, or is invalid.
    """
    try:
        return Claims.model_validate(yaml.safe_load(path.read_text()))
    except OSError as error:
        raise UserError(f"Cannot read the claims {path}: {error.strerror}; name the file with --claims.") from None
    except (yaml.YAMLError, ValidationError) as error:
        raise UserError(f"The claims {path} are invalid: {error}") from None


def judge(outcomes: Outcomes, claims: Claims) -> list[dict[str, Any]]:
    """The verdict on each claim for each dataset, as plain JSON values; no list if the experiment lacks the method."""
    if claims.method not in outcomes.methods:
        return []
    return [
        {"claim": name, "method": claims.method, **claim.model_dump(), **verdict}
        for name, claim in claims.claims.items()
        for verdict in _verdicts(outcomes, claims, claim)
    ]


@dataclass(frozen=True)
class _Finding:
    """One claim on one dataset: the estimate, one-sided p for the claim and against it, and what has to be said."""

    dataset: str
    estimate: Estimate | None
    p_for: float = np.nan
    p_against: float = np.nan
    reason: str | None = None
    tested: bool = True


def _verdicts(outcomes: Outcomes, claims: Claims, claim: Claim) -> list[dict[str, Any]]:
    """One claim on all datasets, which are one family for Holm's method."""
    findings = [_finding(outcomes, dataset, claims, claim) for dataset in outcomes.datasets]
    holm_for, holm_against = (
        statistics.holm([getattr(finding, side) for finding in findings]) for side in ("p_for", "p_against")
    )
    return [
        _verdict(outcomes, claims, claim, finding, *adjusted)
        for finding, *adjusted in zip(findings, holm_for, holm_against, strict=True)
    ]


def _finding(outcomes: Outcomes, dataset: str, claims: Claims, claim: Claim) -> _Finding:
    measure, method = MEASURES[claim.metric], claims.method
    if measure.choosing and never_chose(outcomes, dataset, method):
        return _Finding(dataset, None, reason=NEVER_CHOSE, tested=False)
    try:
        estimate = measure.estimate(outcomes, dataset, method)
    except NotMeasured as lacking:
        return _Finding(dataset, None, reason=str(lacking))
    if np.isnan(estimate.error):
        return _Finding(dataset, estimate, reason="one seed gives no interval")
    opposite: Direction = "less" if claim.direction == "greater" else "greater"
    p_for, p_against = (float(estimate.p_value(claim.margin, side)) for side in (claim.direction, opposite))
    said = [unmatched(outcomes, dataset, method) if measure.matched else None]
    said.append("no spread at all, so the sign test over seeds decides" if estimate.error == 0 else None)
    reason = "; ".join(filter(None, said)) or None
    if claim.requires is None:
        return _Finding(dataset, estimate, p_for, p_against, reason)
    required = _finding(outcomes, dataset, claims, claims.claims[claim.requires])
    if np.isnan(required.p_for):
        return _Finding(dataset, estimate, reason=f"rests on {claim.requires}, which is open: {required.reason}")
    if required.p_for > p_for:
        weakest = f"decided by {claim.requires}, p {_p(required.p_for)}"
        reason = weakest if reason is None else f"{reason}; {weakest}"
    # Both must be shown to hold. For the claim to be false one of the two is enough, hence Bonferroni's factor.
    p_against = min(1, 2 * min(p_against, required.p_against))
    return _Finding(dataset, estimate, max(p_for, required.p_for), p_against, reason)


def _p(p: float) -> str:
    return probability(p) if p < 0.001 else f"= {probability(p)}"


def _verdict(
    outcomes: Outcomes, claims: Claims, claim: Claim, finding: _Finding, holm_for: float, holm_against: float
) -> dict[str, Any]:
    measure = MEASURES[claim.metric]
    verdict: Verdict = "inconclusive" if finding.tested else "not tested"
    if holm_for <= claims.alpha / 2:
        verdict = "supported"
    elif holm_against <= claims.alpha / 2:
        verdict = "not supported"
    effect, low, high, reads = np.nan, np.nan, np.nan, None
    if finding.estimate is not None:
        effect = float(finding.estimate.value)
        low, high = np.clip(finding.estimate.interval(), *measure.possible)
        reads = measure.sentence(effect)
        if claim.metric == "static_frontier_margin":
            reads = f"{reads} on average{_extremes(outcomes, finding.dataset, claims.method)}"
    numbers = {
        "effect": effect, "low": low, "high": high, "p": finding.p_for, "p_holm": holm_for,
        "p_against_holm": holm_against,
    }  # fmt: skip
    return {
        "dataset": finding.dataset,
        "reference": best_static(outcomes, finding.dataset),
        "verdict": verdict,
        "alpha": claims.alpha,
        **{name: None if np.isnan(number) else float(number) for name, number in numbers.items()},
        "reads": reads,
        "reason": finding.reason,
    }


def _extremes(outcomes: Outcomes, dataset: str, method: str) -> str:
    """Where, and by how much, the curve lies highest above the static frontier, and lowest."""
    found, frontier = "", Frontier(outcomes, dataset)
    for where, name in (("best", "highest"), ("worst", "lowest")):
        if (there := frontier.margin(method, where)) is not None:  # type: ignore[arg-type]
            estimate, macs = there
            side = "above" if estimate.value >= 0 else "below"
            found += f"; {name} at {significant(macs)} MACs: {points(abs(estimate.value))} {side}"
    return found
