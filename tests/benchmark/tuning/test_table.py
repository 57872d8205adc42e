"""What tuning changed, as it is shown."""

import math

import pytest

from benchmark.experiment.tuned import Choice, TunedDataset, TunedFile, Values
from benchmark.tuning.table import best_so_far, table, text, write

BEFORE = Values(recipe={"learning_rate": 0.004, "weight_decay": 0.02}, parameters={"exits": (1, 2)})
METHODS = {
    "better": Choice(
        trial=2, scores=(0.7, 0.6, 0.8, 0.75), before=BEFORE,
        recipe={"learning_rate": 0.01, "weight_decay": 0.02}, parameters={"exits": (2,)},
    ),
    "unchanged": Choice(trial=0, scores=(0.9, 0.9, 0.8, None), before=BEFORE),
    "rescued": Choice(trial=1, scores=(None, 0.5, 0.4, 0.6), before=BEFORE, recipe={"learning_rate": 0.001}),
}  # fmt: skip
TUNED = TunedFile(
    experiment="e", trials=4, seed=1000, commits=(None,), dirty=False, versions={},
    datasets={"digits": TunedDataset(budgets=(1.0, 16.0), methods=METHODS)},
)  # fmt: skip


def test_only_what_changed_is_named_with_its_old_value():
    changes = dict(zip(table(TUNED)["method"], table(TUNED)["changes"], strict=True))
    assert changes == {
        "better": "learning_rate 0.004 → 0.01, exits [1, 2] → [2]",
        "unchanged": "nothing",
        "rescued": "learning_rate 0.004 → 0.001",
    }


def test_scores_are_in_percent_and_a_divergence_is_named():
    shown = text(TUNED)
    assert shown["score before (%)"].tolist() == ["70.00", "90.00", "diverged"]
    assert shown["score after (%)"].tolist() == ["80.00", "90.00", "50.00"]
    assert shown["dataset"].tolist() == ["digits", "", ""]


def test_the_best_so_far_never_falls_and_passes_over_divergence():
    course = best_so_far(TUNED).set_index(["method", "trial"])["best"]
    assert course["better"].tolist() == [0.7, 0.7, 0.8, 0.8]
    assert course["rescued"].tolist()[1:] == [0.5, 0.5, 0.6]
    assert math.isnan(course["rescued", 0])
    assert course["unchanged"].tolist()[:3] == [0.9, 0.9, 0.9]


@pytest.mark.parametrize("suffix", ["csv", "md", "tex"])
def test_the_table_is_written_like_the_others(suffix, tmp_path):
    write(TUNED, tmp_path)
    assert "rescued" in (tmp_path / f"tuning.{suffix}").read_text()
