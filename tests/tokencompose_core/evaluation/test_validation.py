import numpy as np
import pytest
from PIL import Image
from transformers import CLIPTokenizerFast

from tests.conftest import MODELS
from tokencompose_core.evaluation.generate import Sampler, load_pipeline
from tokencompose_core.evaluation.prompts import Prompt
from tokencompose_core.evaluation.validation import (
    Validation,
    load_validation,
    load_validations,
    save_validation,
    validate_prompts,
)
from tokencompose_core.reports.validation_sheet import draw_noun_attention, draw_samples

SAMPLER = Sampler(num_inference_steps=2, guidance_scale=7.5, height=64, width=64)


def test_validation_draws_the_same_at_every_step(tmp_path):
    pipeline = load_pipeline(MODELS / "stable_diffusion")
    tokenizer = CLIPTokenizerFast.from_pretrained(MODELS / "stable_diffusion/tokenizer")
    prompts = [Prompt(0, "a cat and a kite", ("cat", "kite")), Prompt(1, "a boat", ("boat",))]
    for step in (0, 20):
        validation = validate_prompts(
            pipeline,
            tokenizer,
            prompts,
            SAMPLER,
            step=step,
            held_out={"inside": 0.25},
            seed=3,
            batch_size=2,
        )
        save_validation(tmp_path, validation)
    before, after = load_validations(tmp_path)
    assert (before.step, after.step) == (0, 20)
    assert [maps.shape for maps in before.attention] == [(16, 16, 2), (16, 16, 1)]
    assert before.held_out == {"inside": 0.25}
    for one, other in zip(before.images, after.images, strict=True):
        assert np.array_equal(np.asarray(one), np.asarray(other))
    assert not np.array_equal(np.asarray(before.images[0]), np.asarray(before.images[1]))


def test_without_prompts_the_held_out_losses_are_kept(tmp_path):
    save_validation(tmp_path, Validation(7, [], [], {"token": 1.5}))
    (read,) = load_validations(tmp_path)
    assert (read.step, read.images, read.attention, read.held_out) == (7, [], [], {"token": 1.5})
    save_validation(tmp_path, Validation(9, [], [], {"token": 1.0}))
    damaged = tmp_path / "validation-00000009.npz"
    whole = damaged.read_bytes()
    for length in (0, 1, 4, 100, len(whole) - 1):
        damaged.write_bytes(whole[:length])
        assert [one.step for one in load_validations(tmp_path)] == [7], length
        assert load_validation(tmp_path, 9) is None
    damaged.unlink()
    damaged.mkdir()  # read as a disk that fails is
    with pytest.raises(IsADirectoryError):
        load_validation(tmp_path, 9)


def test_sheets_have_a_row_a_step_and_a_cell_a_noun():
    images = [[Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")]] * 3
    samples = draw_samples(["a cat and a kite", "a boat"], [0, 10, 20], images)
    one = draw_samples(["a cat and a kite", "a boat"], [0], images[:1])
    assert samples.width == one.width
    assert 2.8 < samples.height / one.height < 3.1
    maps = [[np.full((4, 4, 2), 0.5), np.full((4, 4, 1), 0.25)]] * 3
    sheet = draw_noun_attention([["cat", "kite"], ["boat"]], [0, 10, 20], images, maps)
    # Three columns: the image and the two nouns; the second prompt has one noun only.
    pixels = np.asarray(sheet)
    column, row = sheet.width // 3, sheet.height // 6
    assert not (pixels[row // 2, 2 * column + column // 2] == 255).all()
    assert (pixels[5 * row + row // 2, 2 * column + column // 2] == 255).all()
