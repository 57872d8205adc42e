"""Rows of a batch are taken and put back as by indexing, whichever they are."""

import pytest
import torch

from dynalay.rows import added, gathered, partition, put, replaced, take


@pytest.mark.parametrize("rows", [[], [1], [0, 2], [0, 1, 2]])
@pytest.mark.parametrize("with_gradients", [True, False])
def test_taking_and_putting_is_indexing(rows, with_gradients):
    whole, index = torch.arange(6.0).reshape(3, 2), torch.tensor(rows, dtype=torch.int64)
    part = -torch.ones(len(rows), 2)
    expected = whole.clone()
    expected[index] = part
    torch.testing.assert_close(take(whole, index), whole[index])
    with torch.set_grad_enabled(with_gradients):
        torch.testing.assert_close(put(whole, index, part), expected)


@pytest.mark.parametrize("rows", [[0, 2], [0, 1, 2]])
def test_gradients_reach_whole_and_part(rows):
    index = torch.tensor(rows)
    whole = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    part = torch.randn(len(rows), 2, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(lambda w, p: put(w, index, p + take(w, index)), (whole, part))


def test_what_a_graph_needs_is_not_overwritten():
    whole = torch.zeros(3, 2)
    put(whole, torch.tensor([1]), torch.ones(1, 2))
    assert not whole.any()


def test_the_whole_decides_the_type():
    assert put(torch.zeros(2, 1), torch.arange(2), torch.ones(2, 1, dtype=torch.bfloat16)).dtype == torch.float32


def images(layout):
    return torch.arange(5 * 2 * 3 * 4.0).reshape(5, 2, 3, 4).contiguous(memory_format=layout)


LAYOUTS = pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])


@LAYOUTS
@pytest.mark.parametrize("rows", [[], [3], [0, 2, 4], [0, 1, 2, 3, 4]])
def test_images_keep_their_layout_and_their_values(layout, rows):
    index, whole = torch.tensor(rows, dtype=torch.int64), images(layout)
    part = -torch.ones(len(rows), 2, 3, 4)
    expected, kept = whole.clone(), whole.clone()
    expected[index] = part
    for result in (replaced(whole, index, part), put(whole, index, part)):
        torch.testing.assert_close(result, expected)
    torch.testing.assert_close(added(kept, index, part), kept.index_add(0, index, part))
    assert take(kept, index).is_contiguous(memory_format=layout)
    assert added(kept, index, part).is_contiguous(memory_format=layout)
    torch.testing.assert_close(take(kept, index), kept[index])


@LAYOUTS
@pytest.mark.parametrize("leaves", [[0, 0, 0, 0, 0], [1, 1, 1, 1, 1], [0, 1, 1, 0, 1]])
def test_what_was_split_is_gathered_again(layout, leaves):
    leaves = torch.tensor(leaves, dtype=torch.bool)
    leave, stay = partition(leaves)
    assert leave.tolist() == leaves.nonzero().squeeze(1).tolist()
    assert stay.tolist() == (~leaves).nonzero().squeeze(1).tolist()
    parts = [(rows, take(images(layout), rows)) for rows in (leave, stay) if len(rows)]
    torch.testing.assert_close(gathered(*zip(*parts, strict=True)), images(layout))
