import numpy as np
import pytest

from tests.conftest import MODELS
from tokencompose_core.evaluation.generate import (
    Sampler,
    generate_images,
    load_pipeline,
    request_images,
)
from tokencompose_core.evaluation.image_tar import read_images, write_images
from tokencompose_core.evaluation.prompts import Prompt, multigen_text
from tokencompose_core.pocket.floors.held_out import draw_held_out

PROMPTS = [Prompt(i, multigen_text([n]), (n,)) for i, n in enumerate(["cat", "boat", "wine glass"])]


@pytest.fixture(scope="module")
def pipeline():
    return load_pipeline(MODELS / "stable_diffusion")


def test_fifty_steps_of_pndm_are_fifty_one_calls_of_the_unet(pipeline):
    calls = []
    hook = pipeline.unet.register_forward_pre_hook(lambda module, inputs: calls.append(inputs[1]))
    requests = request_images(PROMPTS[:1], 1, 0)
    generate_images(pipeline, requests, Sampler(50, 7.5, 64, 64), batch_size=1)
    hook.remove()
    assert len(calls) == 51
    assert len({int(step) for step in calls}) == 50


def test_image_is_the_same_in_any_batch(pipeline):
    requests = request_images(PROMPTS, 1, 0)
    together = generate_images(pipeline, requests, Sampler(8, 7.5, 64, 64), batch_size=3)
    alone = generate_images(pipeline, requests[2:], Sampler(8, 7.5, 64, 64), batch_size=1)
    difference = np.abs(np.asarray(together[2], dtype=int) - np.asarray(alone[0], dtype=int))
    assert difference.max() <= 1


def test_images_survive_the_tar_and_equal_images_give_equal_bytes(tmp_path):
    images = {f"{n}_0": item.image for n, item in enumerate(draw_held_out(3, seed=0))}
    write_images(tmp_path / "a.tar", images)
    write_images(tmp_path / "b.tar", images)
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    again = read_images(tmp_path / "a.tar")
    assert list(again) == list(images)
    assert all(np.array_equal(np.asarray(again[n]), np.asarray(images[n])) for n in images)
