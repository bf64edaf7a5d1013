"""Worked by hand: maps of 2 x 2, two samples."""

import torch

from tokencompose_core.objectives.own_object import measure_own_object
from tokencompose_core.objectives.phrase_tokens import index_phrase_tokens

TOP_LEFT = [[True, False], [False, False]]
TOP = [[True, True], [False, False]]
BOTTOM_RIGHT = [[False, False], [False, True]]


def test_other_objects_are_those_of_the_sample_without_the_own_one():
    # A sample with two phrases, the second of two tokens, and one with a single phrase.
    tokens = index_phrase_tokens([[[1], [4, 5]], [[2]]])
    masks = torch.tensor([TOP_LEFT, TOP, BOTTOM_RIGHT])
    maps = torch.tensor(
        [
            [[6.0, 2.0], [1.0, 1.0]],  # own 6, and of TOP what is not TOP_LEFT: 2
            [[1.0, 1.0], [1.0, 1.0]],  # TOP covers the other object: nothing to compare with
            [[1.0, 0.0], [0.0, 3.0]],
            [[0.0, 0.0], [0.0, 1.0]],  # alone in its sample
        ]
    )
    found = measure_own_object(maps, masks, tokens)
    assert torch.allclose(found.own, torch.tensor([0.6]))
    assert torch.allclose(found.others, torch.tensor([0.2]))
    assert torch.allclose(found.preference, torch.tensor([0.75]))


def test_tokens_that_attend_to_no_object_are_left_out():
    tokens = index_phrase_tokens([[[1], [2], [3]]])
    masks = torch.tensor([TOP_LEFT, BOTTOM_RIGHT, TOP_LEFT])
    maps = torch.zeros(3, 2, 2)
    maps[0, 0, 1] = 1.0  # beside both objects
    maps[2, 0, 0] = 1.0  # and of the second not a trace is left
    found = measure_own_object(maps, masks, tokens)
    assert found.own.tolist() == found.preference.tolist() == [1.0]


def test_preference_does_not_depend_on_sizes():
    tokens = index_phrase_tokens([[[1], [2]]])
    masks = torch.tensor([TOP, BOTTOM_RIGHT])
    even = measure_own_object(torch.ones(2, 2, 2), masks, tokens)
    assert torch.allclose(even.own, torch.tensor([0.5, 0.25]))
    assert torch.allclose(even.others, torch.tensor([0.25, 0.5]))
    assert torch.allclose(even.preference, torch.tensor([0.5, 0.5]))
    # Twice as much a cell on the noun's own object as on the other.
    told = torch.tensor([[[2.0, 2.0], [0.0, 1.0]], [[1.0, 1.0], [5.0, 2.0]]])
    found = measure_own_object(told, masks, tokens)
    assert torch.allclose(found.preference, torch.tensor([2 / 3, 2 / 3]))
