"""Search spaces: what a method may declare, wherever it lives, and what is refused."""

import re

import numpy as np
import pytest

from benchmark.errors import UserError
from benchmark.experiment import kinds
from benchmark.experiment.space import RECIPE, Choices, Range, search_space

METHOD = """\
from dynalay.classifier import AdaptiveClassifier


class Tunable(AdaptiveClassifier):
    search_space = {}

    def __init__(
        self, image_shape, classes, *, rate: float = 0.1, width: int = 8, exits: tuple[int, ...] = (1,),
        fast: bool = True, share: float = 0.5,
    ):
        super().__init__(image_shape, classes)
"""


@pytest.fixture
def declared(tmp_path, monkeypatch):
    """The search space of a method outside the suite that declares the given text."""
    monkeypatch.syspath_prepend(tmp_path)

    def declared(text: str):
        (tmp_path / "elsewhere.py").write_text(METHOD.replace("{}", text))
        return search_space(kinds.find("method", "elsewhere:Tunable"))

    return declared


@pytest.mark.parametrize("name", kinds.names("method"))
def test_every_method_of_the_suite_declares_a_valid_space(name):
    search_space(kinds.find("method", name))


def test_ranges_and_choices_of_a_method_from_anywhere(declared):
    space = declared('{"rate": (0.01, 1.0, "log"), "share": (0, 1, "linear"), "exits": [(1,), (1, 2)]}')
    assert space == {
        "rate": Range(0.01, 1.0, "log"), "share": Range(0.0, 1.0, "linear"), "exits": Choices(((1,), (1, 2)))
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"rat": (0.1, 1.0, "log")}', r"elsewhere.py: search_space names 'rat'.*Did you mean 'rate'"),
        (
            '{"rate": [0.1, 1.0], "width": [1, 2], "exits": [(1,), (2,)], "fast": [True, False], "share": [0.1, 0.2]}',
            r"names 5 parameters.*at most 4",
        ),
        ('{"rate": (1.0, 0.1, "log")}', r"\['rate'\] is \(1.0, 0.1, 'log'\): must be a range"),
        ('{"rate": (0.0, 1.0, "log")}', r"above 0 for 'log'"),
        ('{"rate": (0.1, 1.0)}', r"must be a range"),
        ('{"rate": (0.1, 1.0, "even")}', r"must be a range"),
        ('{"rate": [0.1]}', r"at least two choices"),
        ('{"width": (4, 16, "linear")}', r"holds 4.0, which the method refuses: width: must be a valid integer"),
        ('{"fast": [True, "yes"]}', r"holds 'yes', which the method refuses: fast"),
        ('["rate"]', r"must be a mapping"),
        ("dict(rate=[1, 2])", r"search_space must be a literal"),
    ],
)
def test_a_mistake_names_the_file_the_parameter_and_the_remedy(declared, text, message):
    with pytest.raises(UserError, match=re.compile(message, re.DOTALL)):
        declared(text)


def test_a_log_range_gives_every_doubling_the_same_weight():
    values = np.array([Range(1.0, 16.0, "log").at(place) for place in np.linspace(0, 1, 1000, endpoint=False)])
    assert [((values >= low) & (values < 2 * low)).mean() for low in (1, 2, 4, 8)] == pytest.approx(
        [0.25] * 4, abs=0.01
    )


def test_choices_are_equally_likely():
    values = [Choices(("a", "b", "c")).at(place) for place in np.linspace(0, 1, 300, endpoint=False)]
    assert [values.count(value) for value in "abc"] == [100, 100, 100]


@pytest.mark.parametrize("optimizer", RECIPE)
def test_the_shared_space_holds_the_learning_rate_and_the_weight_decay(optimizer):
    assert set(RECIPE[optimizer]) == {"learning_rate", "weight_decay"}
