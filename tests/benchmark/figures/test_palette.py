"""What stands for what, in all figures and on all pages."""

import itertools

import pytest

from benchmark.figures import _palette
from benchmark.figures._palette import FAMILIES, POLICIES, action_look, contrast, layer_look, method_looks, policy_look

#: The pages on which marks are seen: white, and the dark theme's.
PAGES = ("#ffffff", "#15171b", "#1d2026")
EVERY_COLOUR = {
    *_palette.COLOURS,
    *(colour for colour, _, _ in POLICIES.values()),
    *(action_look(action)["facecolor"] for action in range(8)),
}


@pytest.mark.parametrize("page", PAGES)
def test_every_mark_has_a_contrast_of_three_to_one(page):
    faint = {colour: round(contrast(colour, page), 2) for colour in EVERY_COLOUR if contrast(colour, page) < 3}
    assert faint == {}


def test_contrast_is_that_of_the_standard():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("method", FAMILIES)
def test_a_kind_looks_the_same_in_every_experiment(method):
    alone = method_looks(["resnet20", method], static=["resnet20"])
    among_others = method_looks(["new", "resnet8", *reversed(FAMILIES), f"{method}-variant"], static=["resnet8"])
    assert alone[method] == among_others[method]


def test_a_variant_has_the_colour_of_its_method_and_another_shape():
    looks = method_looks(["dynalay", "dynalay-picard", "dynalay-broyden", "act"])
    assert looks["dynalay-picard"]["color"] == looks["dynalay"]["color"] != looks["act"]["color"]
    shapes = [(looks[name]["marker"], looks[name]["linestyle"]) for name in looks]
    assert len(set(shapes)) == 4


def test_methods_policies_and_layers_share_no_colour_and_no_line():
    """A control never looks like a method, nor a layer like either."""
    methods = set(_palette.COLOURS)
    policies = {policy_look(policy)["color"] for policy in POLICIES}
    layers = {layer_look(layer)["color"] for layer in range(1, 7)}
    for one, other in itertools.combinations((methods, policies, layers), 2):
        assert not one & other
    assert not {policy_look(policy)["marker"] for policy in POLICIES} & set(_palette.MARKERS)
