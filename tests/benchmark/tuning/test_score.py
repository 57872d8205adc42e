"""The mathematics of the score: against numerical integration, and on curves whose area is known."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.tuning.points import of_records
from benchmark.tuning.score import Points, score

LOW, HIGH = 1e5, 1.6e6  # four doublings

shares = st.floats(0.3, 1.0)
operating_points = st.lists(st.tuples(st.floats(2e4, 4e6), shares), min_size=1, max_size=8)


def accuracy_within(points: Points, budget: float) -> float:
    """The best mixture of one or two operating points that spends at most the budget on average, by trying all."""
    found = [points.floor]
    for first, right in zip(points.macs, points.accuracy, strict=True):
        for second, also_right in zip(points.macs, points.accuracy, strict=True):
            if first > budget or first > second:
                continue
            share = 1.0 if second <= budget or second == first else (budget - first) / (second - first)
            found.append(max(right, right + share * (also_right - right)))
    return max(found) if any(macs <= budget for macs in points.macs) else points.floor


@settings(deadline=None, max_examples=50)
@given(operating_points, st.floats(0.05, 0.3))
def test_the_score_is_the_mean_over_log_budgets_of_what_the_best_mixture_reaches(found, floor):
    macs, accuracy = zip(*found, strict=True)
    points = Points(macs, accuracy, floor)
    budgets = np.geomspace(LOW, HIGH, 501)
    middles = np.sqrt(budgets[1:] * budgets[:-1])
    numerical = np.mean([accuracy_within(points, budget) for budget in middles])
    assert score(points, LOW, HIGH) == pytest.approx(numerical, abs=5e-3)


def test_a_static_network_scores_its_accuracy_for_the_doublings_that_it_fits():
    assert score(Points((4e5,), (0.9,), 0.1), LOW, HIGH) == pytest.approx((2 * 0.1 + 2 * 0.9) / 4)
    assert score(Points((1e4,), (0.9,), 0.1), LOW, HIGH) == pytest.approx(0.9)
    assert score(Points((2e6,), (0.9,), 0.1), LOW, HIGH) == pytest.approx(0.1)


def test_between_two_points_accuracy_is_linear_in_compute():
    """A(b) = a + s b from (LOW, 0.5) to (HIGH, 0.9); over log b, the mean of b is (HIGH - LOW) / log(HIGH / LOW)."""
    slope = 0.4 / (HIGH - LOW)
    expected = 0.5 - slope * LOW + slope * (HIGH - LOW) / math.log(HIGH / LOW)
    assert score(Points((LOW, HIGH), (0.5, 0.9), 0.1), LOW, HIGH) == pytest.approx(expected)


@settings(deadline=None)
@given(operating_points, st.tuples(st.floats(2e4, 4e6), shares))
def test_one_more_operating_point_never_lowers_the_score(found, more):
    macs, accuracy = zip(*found, strict=True)
    before = Points(macs, accuracy, 0.1)
    after = Points((*macs, more[0]), (*accuracy, more[1]), 0.1)
    assert score(after, LOW, HIGH) >= score(before, LOW, HIGH) - 1e-12


@settings(deadline=None)
@given(operating_points, st.floats(1e-3, 1e3))
def test_the_unit_of_compute_does_not_matter(found, unit):
    macs, accuracy = zip(*found, strict=True)
    scaled = Points(tuple(unit * value for value in macs), accuracy, 0.1)
    assert score(scaled, unit * LOW, unit * HIGH) == pytest.approx(score(Points(macs, accuracy, 0.1), LOW, HIGH))


def test_points_are_means_over_samples_and_the_floor_is_the_most_frequent_class():
    records = pd.DataFrame(
        {
            "operating_point": pd.Categorical(["own:1"] * 4 + ["own:2"] * 4),
            "label": [0, 0, 0, 1] * 2,
            "prediction": [0, 0, 1, 0, 0, 0, 0, 0],
            "macs": [10, 20, 30, 40, 50, 50, 50, 50],
        }
    )
    assert of_records(records) == Points((25.0, 50.0), (0.5, 0.75), 0.75)
