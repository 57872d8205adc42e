import argparse
import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.analysis import statistics, summary, verdicts
from benchmark.analysis.measures import MEASURES
from benchmark.analysis.outcomes import Outcomes
from benchmark.analysis.rank_correlation import spearman_contributions
from benchmark.commands import verdicts as command
from benchmark.errors import UserError
from tests.benchmark import synthetic
from tests.benchmark.synthetic import METHODS, Adaptive, Experiment, Static

CLAIMS = verdicts.load(Path(__file__).parents[3] / "config" / "claims.yaml")


#: The truth under which all claims hold.
TRUE = Adaptive(accuracy=0.84, alone=0.2)


def experiment(dynalay=TRUE, **options):
    defaults: dict[str, Any] = {"datasets": {"maze": True}, "samples": 1200, "points": 4, "seeds": 4, "timed": True}
    methods = {"resnet14": Static(), "resnet8": Static(accuracy=0.78, macs=250_000), "dynalay": dynalay}
    return Experiment(methods=methods, **(defaults | options))


def judged(experiment, results):
    summary.write(experiment.write(results), results)
    found = verdicts.judge(Outcomes(results / experiment.name), CLAIMS)
    return {(verdict["dataset"], verdict["claim"]): verdict for verdict in found}


@pytest.fixture(scope="module")
def under(tmp_path_factory):
    """The verdicts under a truth."""

    @cache
    def verdicts_under(dynalay):
        return judged(experiment(dynalay), tmp_path_factory.mktemp("results"))

    return verdicts_under


def test_when_the_claims_are_true_all_are_supported(under):
    found = {claim: verdict["verdict"] for (_, claim), verdict in under(TRUE).items()}
    assert found == dict.fromkeys(CLAIMS.claims, "supported")


@pytest.mark.parametrize(
    ("flipped", "truth"),
    [
        ("comparable_accuracy", Adaptive(accuracy=0.70)),
        ("less_compute", Adaptive(direct_macs=1_300_000)),
        ("less_time", Adaptive(direct_macs=1_300_000, alone=0.2)),
        ("more_on_harder", Adaptive(skill=-1)),
        ("minimal_on_easy", Adaptive(waste=2)),
        ("agent_beats_blind_policies", Adaptive(skill=-1)),
        ("agent_beats_thresholds", Adaptive(skill=-1)),
        ("layer_choice_matters", Adaptive(skill=-1)),
        ("above_static_frontier", Adaptive(accuracy=0.70)),
        ("reevaluation_helps", Adaptive(gain=-0.2)),
        ("iteration_approximates", Adaptive(gain=-0.2)),
    ],
)
def test_a_verdict_flips_with_the_truth(flipped, truth, under):
    assert under(TRUE)["maze", flipped]["verdict"] == "supported"
    assert under(truth)["maze", flipped]["verdict"] == "not supported"


@pytest.mark.parametrize(
    ("claim", "truth"),
    [
        ("agent_beats_blind_policies", Adaptive(skill=0)),
        ("reevaluation_helps", Adaptive(gain=0)),
        ("iteration_approximates", Adaptive(gain=0)),
    ],
)
def test_where_there_is_no_effect_nothing_is_claimed(claim, truth, under):
    assert under(truth)["maze", claim]["verdict"] == "inconclusive"


def test_effects_are_the_simulated_ones(under):
    found = under(TRUE)
    gain = found["maze", "iteration_approximates"]
    assert gain["low"] < 0.1 < gain["high"]  # 0.2 at difficulty 1, 0 at 0: half of it on average
    assert 0.3 <= found["maze", "less_compute"]["effect"] <= 0.7  # the direct pass costs 30% and all rounds 70%
    assert found["maze", "minimal_on_easy"]["effect"] == pytest.approx(0, abs=0.01)
    assert found["maze", "more_on_harder"]["effect"] > 0.9


def test_time_counts_where_it_is_worst(under):
    macs, time = (under(TRUE)["maze", claim] for claim in ("less_compute", "less_time"))
    assert time["effect"] == pytest.approx(macs["effect"], abs=1e-6)  # at batch 256; alone, it saves four fifths
    slow = under(replace(TRUE, alone=3.0))["maze", "less_time"]
    assert slow["effect"] == pytest.approx(-2)
    assert slow["reads"] == "takes 200.0% longer"
    assert slow["verdict"] != "supported"


def test_without_timings_the_claim_about_time_is_open(tmp_path):
    found = judged(experiment(samples=200, timed=False), tmp_path)
    assert found["maze", "less_time"]["verdict"] == "inconclusive"
    assert found["maze", "less_time"]["reason"] == "no timings were taken; `snakemake latency` takes them"


def test_a_missing_seed_leaves_a_claim_open_and_says_so(tmp_path):
    found = judged(experiment(samples=200, seeds=3, missing=("maze/dynalay/seed1",)), tmp_path)
    assert {item["verdict"] for item in found.values()} == {"inconclusive"}
    assert all("2 of 3 seeds" in item["reason"] for item in found.values())
    assert all(item["effect"] is None for item in found.values())


def test_missing_static_networks_leave_only_the_claims_about_them_open(tmp_path):
    missing = ("maze/resnet14/seed0", "maze/resnet8/seed1")
    found = judged(experiment(samples=600, missing=missing), tmp_path)
    assert found["maze", "comparable_accuracy"]["reason"] == "only 3 of 4 seeds have results"
    assert found["maze", "less_compute"]["verdict"] == "inconclusive"
    assert "no static network has all its seeds" in found["maze", "above_static_frontier"]["reason"]
    assert found["maze", "iteration_approximates"]["verdict"] == "supported"


def test_without_controls_their_claims_are_open(tmp_path):
    found = judged(experiment(Adaptive(controls=False), samples=200), tmp_path)
    assert found["maze", "agent_beats_blind_policies"]["reason"] == "no control that does not look was recorded"
    assert found["maze", "agent_beats_thresholds"]["reason"] == "no control with a threshold was recorded"
    assert found["maze", "layer_choice_matters"]["reason"] == "no control with a fixed order was recorded"
    assert found["maze", "iteration_approximates"]["verdict"] == "inconclusive"


def test_one_seed_decides_nothing(tmp_path):
    found = judged(experiment(samples=200, seeds=1), tmp_path)
    assert {item["verdict"] for item in found.values()} == {"inconclusive"}
    assert found["maze", "less_compute"]["effect"] is not None
    assert found["maze", "less_compute"]["reason"] == "one seed gives no interval"


def test_intervals_are_cut_to_what_is_possible(tmp_path):
    found = judged(experiment(samples=60, seeds=2, seed_spread=0.15), tmp_path)
    cut = 0
    for (_, claim), verdict in found.items():
        low, high = MEASURES[CLAIMS.claims[claim].metric].possible
        if verdict["low"] is not None:
            assert low <= verdict["low"] <= verdict["effect"] <= verdict["high"] <= high
            cut += verdict["low"] == low or verdict["high"] == high
    assert cut  # two seeds this far apart reach beyond


def test_seeds_that_never_match_the_reference_are_told(under):
    weak = under(Adaptive(accuracy=0.70))
    for claim in ("comparable_accuracy", "less_compute"):
        assert weak["maze", claim]["reason"].startswith("4/4 seeds never match resnet14")
    assert weak["maze", "iteration_approximates"]["reason"] is None


def test_datasets_are_one_family_for_holm(tmp_path):
    names = dict.fromkeys(("maze", "ising", "parity"), True)
    found = judged(experiment(samples=100, seeds=3, datasets=names), tmp_path)
    raw = sorted(found[name, "agent_beats_blind_policies"]["p"] for name in names)
    adjusted = sorted(found[name, "agent_beats_blind_policies"]["p_holm"] for name in names)
    assert adjusted[0] == pytest.approx(min(1, 3 * raw[0]))


def test_without_the_method_there_is_nothing_to_judge(tmp_path):
    plain = replace(experiment(samples=60), methods={"resnet14": Static(), "resnet8": METHODS["resnet8"]})
    assert judged(plain, tmp_path) == {}


def test_the_verb_writes_plain_json(tmp_path, monkeypatch, capsys):
    small = experiment(samples=100, seeds=2)
    monkeypatch.setattr(command.configuration, "load", lambda path: small.configuration())
    summary.write(small.write(tmp_path), tmp_path)
    claims = Path(__file__).parents[3] / "config" / "claims.yaml"
    command.main(argparse.Namespace(config=None, results=tmp_path, claims=claims))
    found = json.loads((tmp_path / small.name / "verdicts.json").read_text(), parse_constant=pytest.fail)
    assert len(found) == len(CLAIMS.claims)
    assert found[0]["quote"] == CLAIMS.claims["comparable_accuracy"].quote
    assert "comparable_accuracy" in capsys.readouterr().out


@pytest.mark.parametrize(
    "text",
    [
        "method: dynalay",
        "claims: [",
        "method: a\nalpha: 0.05\nclaims: {x: {metric: none}}",
        "method: a\nalpha: 2\nclaims: {}",
        """
        method: a
        alpha: 0.05
        claims: {x: {quote: q, hypothesis: h, metric: compute_saved, direction: less, margin: 0, requires: y}}
        """,
    ],
)
def test_a_wrong_claims_file_is_refused(tmp_path, text):
    (tmp_path / "claims.yaml").write_text(text)
    with pytest.raises(UserError, match=r"claims\.yaml"):
        verdicts.load(tmp_path / "claims.yaml")


def test_every_metric_of_a_claim_exists():
    assert {claim.metric for claim in CLAIMS.claims.values()} == set(MEASURES)


def test_a_constant_classifier_never_saves_compute(tmp_path):
    """It is cheap, but its accuracy is not comparable."""
    constant = Adaptive(accuracy=0.3, gain=0, direct_macs=1000, round_macs=10)
    found = judged(experiment(constant), tmp_path)
    less = found["maze", "less_compute"]
    assert less["effect"] > 0.9
    assert less["verdict"] == "not supported"
    assert "comparable_accuracy" in less["reason"]
    assert less["p"] == found["maze", "comparable_accuracy"]["p"] > 0.5


@pytest.mark.parametrize("prices", [(1.5,), (1.5, 1.7, 2.0)])
def test_where_the_agent_never_chose_claims_about_choosing_are_not_tested(tmp_path, monkeypatch, prices):
    """Above a price of 1 no compute is worth it: the agent always answers at once, at each of its points."""
    everything = synthetic.spendings

    def at_high_prices(*arguments):
        for policy, knob, spent in everything(*arguments):
            if policy != "own" or np.isnan(knob):
                yield policy, knob, spent
        if isinstance(arguments[0], Adaptive):
            for price in prices:
                yield "own", price, np.zeros(len(arguments[1]), np.int64)

    monkeypatch.setattr(synthetic, "spendings", at_high_prices)
    found = judged(experiment(samples=300, seeds=2), tmp_path)
    verdicts_on = {claim: verdict["verdict"] for (_, claim), verdict in found.items()}
    about_choosing = {name for name, claim in CLAIMS.claims.items() if MEASURES[claim.metric].choosing}
    assert {claim for claim, verdict in verdicts_on.items() if verdict == "not tested"} == about_choosing
    assert found["maze", "more_on_harder"]["reason"].startswith("the agent made no choice")
    assert found["maze", "more_on_harder"]["effect"] is None
    # Two seeds that both spend the same on all samples are not proof that a third would: 1/4, not 0.
    assert found["maze", "less_compute"]["verdict"] != "supported"
    assert "sign test" in found["maze", "less_compute"]["reason"]
    assert found["maze", "less_compute"]["p"] >= 0.25


def test_effects_are_read_with_natural_signs(under):
    found = under(TRUE)
    assert found["maze", "less_compute"]["reads"].startswith("saves ")
    costlier = under(Adaptive(direct_macs=1_300_000))["maze", "less_compute"]
    assert costlier["effect"] < 0
    assert costlier["reads"].startswith("spends ")
    assert "-" not in costlier["reads"]
    assert "above on average; highest at" in found["maze", "above_static_frontier"]["reads"]
    assert found["maze", "less_compute"]["reference"] == "resnet14"


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5])
def test_null_rate_of_correlation_and_easy_excess(seeds):
    """Half of the variance of compute is the sample's own in all seeds, and has nothing to do with difficulty."""
    rng = np.random.default_rng(seeds)
    supported = []
    for _ in range(1000):
        difficulty, shared = rng.normal(size=(2, 300))
        spent = (shared + rng.normal(size=(seeds, 300))) / np.sqrt(2)
        estimate = statistics.crossed_mean(spearman_contributions(spent, difficulty))
        supported.append(estimate.p_value(0, "greater") <= 0.025)
    assert np.mean(supported) < 0.04  # over seeds alone it was 5% and 10%
