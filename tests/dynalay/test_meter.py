import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dynalay.components import Component
from dynalay.meter import Meter


def _meter(samples: int) -> Meter:
    components = {"a": Component(nn.Linear(4, 2), ((4,),)), "b": Component(nn.Identity(), ((2,),))}
    return Meter(components, samples)


@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.sets(st.integers(0, 4))), max_size=8))
def test_executions_count_every_row_of_every_call(calls):
    meter = _meter(samples=5)
    expected = torch.zeros(5, 2, dtype=torch.int32)
    for name, rows in calls:
        width = 4 if name == "a" else 2
        meter(name, torch.ones(len(rows), width), rows=torch.tensor(sorted(rows), dtype=torch.int64))
        for row in rows:
            expected[row, "ab".index(name)] += 1
    assert torch.equal(meter.executions, expected)


def test_without_rows_all_samples_ran():
    meter = _meter(samples=3)
    meter("a", torch.ones(3, 4))
    assert meter.executions.tolist() == [[1, 0]] * 3


def test_the_module_gets_the_inputs_and_its_result_is_handed_on():
    meter = _meter(samples=3)
    x = torch.randn(2, 4)
    expected = meter.components["a"].module(x)
    assert torch.equal(meter("a", x, rows=torch.tensor([0, 2])), expected)


def test_gradients_pass_through():
    layer = nn.Linear(4, 2)
    x = torch.randn(2, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(Meter({"a": Component(layer, ((4,),))}, samples=2)("a", x).sum(), x)
    torch.testing.assert_close(gradient, layer.weight.sum(dim=0).expand(2, 4))


def test_an_unknown_component_is_named_with_those_that_exist():
    with pytest.raises(KeyError, match=r"no component 'c'; the model declares a, b"):
        _meter(samples=1)("c", torch.ones(1, 4))


@pytest.mark.parametrize(("shape", "rows"), [((3, 5), None), ((2, 4), None), ((3, 4), [0]), ((0, 4), [0])])
def test_an_input_whose_cost_was_not_counted_is_refused_and_not_counted(shape, rows):
    meter = _meter(samples=3)
    with pytest.raises(ValueError, match="component 'a' got inputs"):
        meter("a", torch.ones(shape), rows=None if rows is None else torch.tensor(rows))
    assert meter.executions.sum() == 0


def test_macs_are_executions_times_costs_and_exact_beyond_the_integers_of_a_float():
    meter = _meter(samples=3)
    meter("a", torch.ones(3, 4))
    meter("a", torch.ones(2, 4), rows=torch.tensor([0, 2]))
    meter("b", torch.ones(1, 2), rows=torch.tensor([1]))
    large = 2**53 + 1
    assert meter.macs(torch.tensor([large, 5])).tolist() == [2 * large, large + 5, 2 * large]


@pytest.mark.parametrize(("values", "absent"), [(torch.tensor([0.5, 0.25]), float("nan")), (torch.tensor([3, 4]), -1)])
def test_notes_hold_a_value_for_every_sample(values, absent):
    meter = _meter(samples=3)
    meter.note("x", values[:1], rows=torch.tensor([2]))
    meter.note("x", values[1:], rows=torch.tensor([0]))
    torch.testing.assert_close(
        meter.notes["x"], torch.tensor([values[1], absent, values[0]], dtype=values.dtype), equal_nan=True
    )


def test_notes_keep_no_graph():
    meter = _meter(samples=1)
    meter.note("x", torch.ones(1, requires_grad=True) * 2)
    assert not meter.notes["x"].requires_grad


def test_a_meter_that_is_not_strict_says_which_shapes_ran():
    components = {"a": Component(nn.ReLU(), ((4,),)), "b": Component(nn.ReLU(), ((2,),))}
    meter = Meter(components, samples=3, strict=False)
    meter("a", torch.ones(3, 5))
    meter("a", torch.ones(1, 5), rows=torch.tensor([1]))
    assert meter.executions.tolist() == [[1, 0], [2, 0], [1, 0]]
    assert meter.input_shapes == {"a": ((5,),), "b": ((2,),)}


@pytest.mark.parametrize("shape", [(3, 6), (2, 5), (3, 5, 1)])
def test_without_strictness_too_a_component_has_one_shape_in_a_batch(shape):
    meter = Meter({"a": Component(nn.ReLU(), ((4,),))}, samples=3, strict=False)
    meter("a", torch.ones(3, 5))
    with pytest.raises(ValueError, match="component 'a' got inputs"):
        meter("a", torch.ones(shape))
    assert meter.executions.tolist() == [[1]] * 3


def test_counts_made_in_inference_mode_can_be_read_and_added_to_outside():
    component = Component(nn.Identity(), ((1,),))
    with torch.inference_mode():
        meter = Meter({"first": component, "second": component}, samples=3)
        meter("first", torch.zeros(3, 1))
        meter("second", torch.zeros(2, 1), rows=torch.tensor([0, 2]))
    assert meter.executions.tolist() == [[1, 1], [1, 0], [1, 1]]
    meter("second", torch.zeros(1, 1), rows=torch.tensor([1]))
    assert meter.executions.tolist() == [[1, 1], [1, 1], [1, 1]]
