import argparse

import pandas as pd
import pytest

from benchmark.analysis import comparison, summary
from benchmark.analysis.outcomes import Outcomes
from benchmark.commands import compare as command
from tests.benchmark.synthetic import Experiment

BEFORE = Experiment(datasets={"maze": True}, samples=800, points=4, seeds=4)


def outcomes(experiment, folder):
    summary.write(experiment.write(folder), folder)
    return Outcomes(folder / experiment.name)


def estimate(cell):
    assert cell.estimate is not None
    return cell.estimate


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    return outcomes(BEFORE, tmp_path_factory.mktemp("before"))


@pytest.fixture(scope="module")
def after(tmp_path_factory):
    changed = BEFORE.with_method("dynalay", accuracy=0.84, direct_macs=200_000)
    return outcomes(changed, tmp_path_factory.mktemp("after"))


def test_what_changed_is_found_and_what_did_not_is_zero(before, after):
    cells = comparison.compare(before, after).cells
    changed, same = cells["maze", "dynalay"], cells["maze", "resnet14"]
    low, high = estimate(changed["difference"]).interval()
    assert 0 < low < 0.04 < high + 0.02
    assert estimate(changed["p"]).value < 0.01
    assert estimate(changed["macs_difference"]).value == pytest.approx(-100_000)
    assert estimate(same["difference"]).value == estimate(same["macs_difference"]).value == 0
    assert estimate(same["p"]).value == 1


def test_the_other_way_round_signs_turn(before, after):
    one, other = comparison.compare(before, after), comparison.compare(after, before)
    assert estimate(one.cells["maze", "dynalay"]["difference"]).value == pytest.approx(
        -estimate(other.cells["maze", "dynalay"]["difference"]).value
    )


def test_pairing_narrows_the_interval(before, after, tmp_path):
    """The same change seen with other test samples and one seed fewer can only be compared as independent runs."""
    other = Experiment(datasets={"maze": True}, samples=700, points=4, seeds=3)
    unpaired = comparison.compare(before, outcomes(other.with_method("dynalay", accuracy=0.84), tmp_path))
    paired = comparison.compare(before, after)
    assert estimate(paired.cells["maze", "branchynet"]["difference"]).error == 0
    assert estimate(unpaired.cells["maze", "branchynet"]["difference"]).error > 0


def test_what_only_one_folder_has_is_a_hole(before, tmp_path):
    less = Experiment(datasets={"maze": True, "ising": True}, methods={"resnet14": BEFORE.methods["resnet14"]}, seeds=4,
                      samples=800, missing=("maze/resnet14/seed3",))  # fmt: skip
    cells = comparison.compare(before, outcomes(less, tmp_path)).cells
    assert cells["maze", "dynalay"]["accuracy_a"].estimate is not None
    assert cells["maze", "dynalay"]["accuracy_b"].estimate is None
    assert cells["maze", "dynalay"]["difference"].estimate is None
    assert (cells["maze", "resnet14"]["difference"].seeds, cells["maze", "resnet14"]["difference"].expected) == (3, 4)
    assert cells["ising", "resnet14"]["accuracy_a"].estimate is None


def test_the_verb_prints_and_writes(before, after, tmp_path, capsys):
    command.main(argparse.Namespace(a=before.folder, b=after.folder, output=tmp_path / "change"))
    printed = capsys.readouterr().out
    assert f"A: {before.folder}" in printed
    assert "| maze" in printed
    assert set(pd.read_csv(tmp_path / "change.csv")["metric"]) >= {"accuracy_a", "difference", "p"}
