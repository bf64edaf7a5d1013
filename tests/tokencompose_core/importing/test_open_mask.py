import io

import numpy as np
import pytest
from matplotlib.image import imsave
from PIL import Image

from tests.hostile_inputs import png_header
from tokencompose_core.importing.open_mask import BadMaskError, find_mask, open_mask
from tokencompose_core.selection.candidates import roots_of

MASK = np.zeros((5, 8), dtype=bool)
MASK[1:4, 2:7] = True
GREY = MASK.astype(np.uint8)
PALETTE = Image.fromarray(GREY, mode="P")
PALETTE.putpalette([0, 0, 0, 128, 0, 0])
CLEAR = Image.fromarray(np.stack([GREY * 255] * 3 + [np.zeros_like(GREY)], axis=-1))


@pytest.fixture
def released_png(tmp_path):
    path = tmp_path / "mask.png"
    imsave(path, MASK, cmap="gray")
    with Image.open(path) as image:
        assert image.mode == "RGBA"
        values = np.asarray(image)
    assert set(np.unique(values[..., 0])) == {0, 255}
    assert (values[..., 3] == 255).all()
    return path


def test_released_mask_is_what_was_saved(released_png):
    assert np.array_equal(open_mask(released_png, "mask", (8, 5)), MASK)


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(MASK),
        Image.fromarray(GREY),
        Image.fromarray(GREY * 255),
        Image.fromarray(GREY * 200 + 20),
        Image.fromarray((GREY.astype(np.uint16) * 200 + 20) * 257),
        PALETTE,
        CLEAR,
    ],
    ids=["one bit", "0 and 1", "0 and 255", "20 and 220", "16 bits", "palette", "transparent"],
)
def test_masks_of_other_kinds_are_read_as_well(tmp_path, image):
    image.save(tmp_path / "mask.png")
    assert np.array_equal(open_mask(tmp_path / "mask.png", "mask", (8, 5)), MASK)


def test_black_mask_is_nowhere_and_white_one_everywhere(tmp_path):
    for value in (0, 255):
        Image.new("L", (8, 5), value).save(tmp_path / "mask.png")
        mask = open_mask(tmp_path / "mask.png", "mask", (8, 5))
        assert mask.all() if value else not mask.any()


GREEN = Image.fromarray(GREY, mode="P")
GREEN.putpalette([0, 0, 0, 0, 128, 0])
NOTHING, ALL = np.zeros_like(GREY), np.full_like(GREY, 255)


@pytest.mark.parametrize(
    ("image", "red"),
    [
        (GREEN, 0),
        (Image.fromarray(np.stack([NOTHING, NOTHING, GREY * 255], axis=-1)), 0),
        (Image.fromarray(np.stack([NOTHING] * 3 + [GREY * 255], axis=-1)), 0),
        (Image.fromarray(np.stack([ALL] * 3 + [GREY * 255], axis=-1)), 255),
        (Image.fromarray(np.stack([ALL, GREY * 255, GREY * 255], axis=-1)), 255),
    ],
    ids=["green palette", "blue", "black with alpha", "white with alpha", "white on red"],
)
def test_mask_that_is_drawn_in_another_channel_is_not_the_whole_image(tmp_path, image, red):
    image.save(tmp_path / "mask.png")
    with pytest.raises(BadMaskError, match=f"mask: its red is {red} everywhere") as caught:
        open_mask(tmp_path / "mask.png", "mask", (8, 5))
    assert str(caught.value.reason) == "mask-unreadable"


@pytest.mark.parametrize("everywhere", [True, False])
def test_released_mask_of_the_whole_image_is_black(tmp_path, everywhere):
    # matplotlib stretches the values from their least to their highest, which are the same.
    imsave(tmp_path / "mask.png", np.full((5, 8), everywhere), cmap="gray")
    assert not open_mask(tmp_path / "mask.png", "mask", (8, 5)).any()


def stream_of(image: Image.Image, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, **options)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "reason", "detail"),
    [
        (b"", "mask-unreadable", "mask: not a PNG"),
        (b"no image", "mask-unreadable", "mask: not a PNG"),
        (stream_of(Image.fromarray(MASK), format="BMP"), "mask-unreadable", "mask: not a PNG"),
        (stream_of(Image.effect_noise((8, 5), 90), format="PNG")[:-30], "mask-unreadable", ""),
        (stream_of(Image.fromarray(MASK.T), format="PNG"), "mask-wrong-size", "5 x 8 pixels"),
        # Refused by its header, before it is decoded.
        (png_header(9_000, 9_000), "mask-wrong-size", "9000 x 9000 pixels, its image has 8 x 5"),
        (png_header(60_000, 60_000), "mask-unreadable", "decompression bomb"),
    ],
)
def test_mask_that_cannot_be_used_says_why(tmp_path, content, reason, detail):
    path = tmp_path / "mask.png"
    path.write_bytes(content)
    with pytest.raises(BadMaskError) as caught:
        open_mask(path, "mask", (8, 5))
    assert str(caught.value.reason) == reason
    assert detail in str(caught.value)


def test_seg_stands_for_the_folder_of_the_masks_once(tmp_path):
    inside = tmp_path / "masks/segway/seg/mask_segway.png"
    inside.parent.mkdir(parents=True)
    inside.touch()
    roots = roots_of(tmp_path / "masks")
    for path in ("seg/segway/seg/mask_segway.png", "segway/seg/mask_segway.png", str(inside)):
        assert find_mask(path, roots).samefile(inside)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("seg/../secret.png", "mask-outside-root"),
        ("../secret.png", "mask-outside-root"),
        ("seg/a/../../secret.png", "mask-outside-root"),
        ("{folder}/secret.png", "mask-outside-root"),
        ("seg//etc/hostname", "mask-outside-root"),
        ("seg/secret.png", "mask-missing"),
        ("seg/", "mask-missing"),
        ("", "mask-missing"),
        ("seg/\0.png", "mask-missing"),
        ("seg/" + 300 * "x", "mask-missing"),
    ],
)
def test_path_that_is_no_file_below_the_folder_says_why(tmp_path, path, reason):
    (tmp_path / "masks").mkdir()
    (tmp_path / "secret.png").touch()
    with pytest.raises(BadMaskError) as caught:
        find_mask(path.format(folder=tmp_path), roots_of(tmp_path / "masks"))
    assert str(caught.value.reason) == reason
