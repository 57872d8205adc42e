import argparse
import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from benchmark.analysis import summary, verdicts
from benchmark.analysis.outcomes import Outcomes
from benchmark.commands import verdicts as command
from benchmark.errors import UserError
from tests.benchmark.synthetic import METHODS, Adaptive, Experiment, Static

CLAIMS = verdicts.load(Path(__file__).parents[3] / "config" / "claims.yaml")


#: The truth under which all claims hold.
TRUE = Adaptive(accuracy=0.84)


def experiment(dynalay=TRUE, **options):
    defaults: dict[str, Any] = {"datasets": {"maze": True}, "samples": 1200, "points": 4, "seeds": 4}
    return Experiment(methods={"resnet14": Static(), "dynalay": dynalay}, **(defaults | options))


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
        ("more_on_harder", Adaptive(skill=-1)),
        ("minimal_on_easy", Adaptive(waste=2)),
        ("agent_beats_random", Adaptive(skill=-1)),
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
        ("agent_beats_random", Adaptive(skill=0)),
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


def test_a_missing_seed_leaves_a_claim_open_and_says_so(tmp_path):
    found = judged(experiment(samples=200, seeds=3, missing=("maze/dynalay/seed1",)), tmp_path)
    assert {item["verdict"] for item in found.values()} == {"inconclusive"}
    assert all("2/3 seeds" in item["reason"] for item in found.values())
    assert all(item["effect"] is None for item in found.values())


def test_a_missing_reference_leaves_only_its_own_claims_open(tmp_path):
    found = judged(experiment(samples=600, missing=("maze/resnet14/seed0",)), tmp_path)
    assert found["maze", "comparable_accuracy"]["reason"] == "3/4 seeds there"
    assert found["maze", "less_compute"]["verdict"] == "inconclusive"
    assert found["maze", "iteration_approximates"]["verdict"] == "supported"


def test_without_controls_their_claims_are_open(tmp_path):
    found = judged(experiment(Adaptive(controls=False), samples=200), tmp_path)
    assert found["maze", "agent_beats_random"]["reason"] == "the control 'random' was not recorded"
    assert found["maze", "iteration_approximates"]["verdict"] == "inconclusive"


def test_one_seed_decides_nothing(tmp_path):
    found = judged(experiment(samples=200, seeds=1), tmp_path)
    assert {item["verdict"] for item in found.values()} == {"inconclusive"}
    assert found["maze", "less_compute"]["effect"] is not None
    assert found["maze", "less_compute"]["reason"] == "one seed gives no interval"


def test_intervals_are_cut_but_tests_are_not(tmp_path):
    found = judged(experiment(samples=60, seeds=2), tmp_path)
    saved = found["maze", "less_compute"]
    assert saved["high"] == 1  # two seeds would reach beyond: nothing can save more than everything
    assert saved["effect"] - saved["low"] > 1 - saved["effect"]
    assert saved["verdict"] == "inconclusive"
    for (_, claim), verdict in found.items():
        low, high = verdicts.POSSIBLE.get(CLAIMS.claims[claim].metric, (-1, 1))
        assert low <= verdict["low"] <= verdict["effect"] <= verdict["high"] <= high


def test_seeds_that_never_match_the_reference_are_told(under):
    weak = under(Adaptive(accuracy=0.70))
    for claim in ("comparable_accuracy", "less_compute"):
        assert weak["maze", claim]["reason"].startswith("4/4 seeds never match the reference")
    assert weak["maze", "iteration_approximates"]["reason"] is None


def test_datasets_are_one_family_for_holm(tmp_path):
    names = dict.fromkeys(("maze", "ising", "parity"), True)
    found = judged(experiment(samples=100, seeds=3, datasets=names), tmp_path)
    raw = sorted(found[name, "agent_beats_random"]["p"] for name in names)
    adjusted = sorted(found[name, "agent_beats_random"]["p_holm"] for name in names)
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
    ],
)
def test_a_wrong_claims_file_is_refused(tmp_path, text):
    (tmp_path / "claims.yaml").write_text(text)
    with pytest.raises(UserError, match=r"claims\.yaml"):
        verdicts.load(tmp_path / "claims.yaml")


def test_every_metric_of_a_claim_exists():
    assert {claim.metric for claim in CLAIMS.claims.values()} == set(verdicts.METRICS)
