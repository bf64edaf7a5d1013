"""Masks and COCO's run lengths, against decoders written from COCO's description of them."""

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from tokencompose_core.store.run_lengths import decode_mask, encode_mask

SMALL = st.tuples(st.integers(1, 20), st.integers(1, 20))
# One side long enough for runs of more than 5 and more than 10 bits.
LONG = st.tuples(st.integers(1, 3), st.integers(30, 700)) | st.tuples(
    st.integers(30, 700), st.integers(1, 3)
)
MASKS = npst.arrays(bool, SMALL) | npst.arrays(bool, LONG, fill=st.booleans())


def counts_of_text(text: str) -> list[int]:
    """COCO's characters as numbers.

    Each holds five bits, lowest first, with 48 added; the sixth bit says that more follow, the
    fifth of the last one is the sign. From the fourth number on, they are differences from the
    number two before.
    """
    counts: list[int] = []
    value, shift = 0, 0
    for character in text:
        bits = ord(character) - 48
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value, shift = 0, 0
    assert shift == 0
    return counts


def text_of_counts(counts: list[int]) -> str:
    text = ""
    for number, count in enumerate(counts):
        value = count - (counts[number - 2] if number > 2 else 0)
        while True:
            bits = value & 31
            value >>= 5
            is_last = value == (-1 if bits & 16 else 0)
            text += chr(bits + 48 + (0 if is_last else 32))
            if is_last:
                break
    return text


def mask_of_counts(counts: list[int], height: int, width: int) -> np.ndarray:
    """Pixels run down the columns, from left to right; the first run is outside the mask."""
    mask = np.zeros((height, width), dtype=bool)
    position = 0
    for number, count in enumerate(counts):
        for pixel in range(position, position + count):
            mask[pixel % height, pixel // height] = number % 2 == 1
        position += count
    assert position == height * width
    return mask


def counts_of_mask(mask: np.ndarray) -> list[int]:
    counts, inside = [0], False
    for column in range(mask.shape[1]):
        for row in range(mask.shape[0]):
            if mask[row, column] != inside:
                counts.append(0)
                inside = not inside
            counts[-1] += 1
    return counts


@given(MASKS)
@example(np.ones((1, 1), dtype=bool))
@example(np.zeros((40, 50), dtype=bool))
def test_run_lengths_are_those_of_coco(mask):
    text = encode_mask(mask)
    assert text == text_of_counts(counts_of_mask(mask))
    assert np.array_equal(mask_of_counts(counts_of_text(text), *mask.shape), mask)
    assert np.array_equal(decode_mask(text, *mask.shape), mask)


@given(npst.arrays(bool, SMALL), st.sampled_from(["C", "F", "flipped", "strided"]))
def test_layout_in_memory_plays_no_part(mask, layout):
    other = {
        "C": np.ascontiguousarray(mask),
        "F": np.asfortranarray(mask),
        "flipped": np.ascontiguousarray(mask[::-1, ::-1])[::-1, ::-1],
        "strided": np.repeat(mask, 2, axis=1)[:, ::2],
    }[layout]
    assert encode_mask(other) == encode_mask(mask)


def test_worked_by_hand():
    mask = np.zeros((3, 4), dtype=bool)
    mask[1:, 1] = mask[0, 2] = True  # column by column: 4 outside, 3 inside, 5 outside
    assert counts_of_mask(mask) == [4, 3, 5]
    assert encode_mask(mask) == "435"
