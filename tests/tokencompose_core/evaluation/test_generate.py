import json
import weakref

import numpy as np
import pytest
import torch
import webdataset

from tests.conftest import MODELS
from tokencompose_core.evaluation.generate import (
    Sampler,
    generate_batches,
    generate_images,
    load_pipeline,
    request_images,
)
from tokencompose_core.evaluation.image_tar import (
    ImageSample,
    iterate_images,
    read_images,
    write_images,
)
from tokencompose_core.evaluation.prepare_pipeline import check_precision, prepare_pipeline
from tokencompose_core.evaluation.prompts import Prompt, multigen_text, sample_prompts
from tokencompose_core.pocket.floors.held_out import draw_held_out

PROMPTS = [Prompt(i, multigen_text([n]), (n,)) for i, n in enumerate(["cat", "boat", "wine glass"])]
NAMES = [
    "cat",
    "teddy bear",
    "chair",
    "clock",
    "wine glass",
    "cup",
    "banana",
    "donut",
    "car",
    "boat",
]
SAMPLER = Sampler(8, 7.5, 64, 64)


@pytest.fixture(scope="module")
def pipeline():
    return load_pipeline(MODELS / "stable_diffusion")


@pytest.fixture(scope="module")
def fast():
    return prepare_pipeline(load_pipeline(MODELS / "stable_diffusion"), precision="float32")


@pytest.fixture(scope="module")
def plain(pipeline):
    """Two rounds of each prompt by diffusers alone."""
    return draw_plainly(pipeline, request_images(PROMPTS, 2, 0), SAMPLER)


def draw_plainly(pipeline, requests, sampler):
    """Images by diffusers alone: a call an image, prompts as text."""
    return [
        pipeline(
            request.prompt.text,
            height=64,
            width=64,
            num_inference_steps=sampler.num_inference_steps,
            guidance_scale=sampler.guidance_scale,
            generator=torch.Generator().manual_seed(request.seed),
        ).images[0]
        for request in requests
    ]


def differences(ours, theirs):
    """Largest difference of any value, and share of the values that differ."""
    first, second = (np.stack([np.asarray(i, dtype=int) for i in own]) for own in (ours, theirs))
    difference = np.abs(first - second)
    return difference.max(), (difference > 0).mean()


class Rows:
    """How many rows a module is given, call by call."""

    def __init__(self, module):
        self.counts = []
        self.hook = module.register_forward_hook(self)

    def __call__(self, module, inputs, output):
        self.counts.append(len(inputs[0]))

    def __enter__(self):
        return self.counts

    def __exit__(self, *error):
        self.hook.remove()


def test_later_round_alone_asks_for_what_all_rounds_together_do():
    together = request_images(PROMPTS, 3, 5)
    for number in range(3):
        alone = request_images(PROMPTS, 1, 5, first_round=number)
        assert alone == [request for request in together if request.round == number]
        assert [request.name for request in alone] == [f"{i}_{number}" for i in range(3)]
    assert len({request.seed for request in together}) == 9


def test_fifty_steps_of_pndm_are_fifty_one_calls_of_the_unet_with_both_passes_in_each(pipeline):
    steps = []
    hook = pipeline.unet.register_forward_pre_hook(lambda module, inputs: steps.append(inputs[1]))
    requests = request_images(PROMPTS[:1], 2, 0)
    with Rows(pipeline.unet) as rows:
        generate_images(pipeline, requests, Sampler(50, 7.5, 64, 64), batch_size=2)
    hook.remove()
    assert rows == [4] * 51
    assert len({int(step) for step in steps}) == 50


@pytest.mark.parametrize(("batch_size", "parts"), [(6, [6]), (4, [6]), (1, [6]), (2, [3, 3])])
def test_images_are_those_of_diffusers_in_any_batch_and_partition(fast, plain, batch_size, parts):
    requests = request_images(PROMPTS, 2, 0)
    ours = []
    for size in parts:
        own, requests = requests[:size], requests[size:]
        ours += generate_images(fast, own, SAMPLER, batch_size=batch_size)
    largest, share = differences(ours, plain)
    assert largest <= 1
    assert share < 0.001
    assert differences(ours[:1], plain[1:2])[0] > 50  # rounds differ


def test_images_of_five_objects_are_those_of_diffusers_after_fifty_steps(pipeline, fast):
    """As an evaluation draws them: rounding grows with the steps, and with guidance."""
    prompts = sample_prompts(NAMES, num_prompts=4, num_objects=5, seed=1)
    requests, sampler = request_images(prompts, 1, 0), Sampler(50, 7.5, 64, 64)
    ours = generate_images(fast, requests, sampler, batch_size=3)
    largest, share = differences(ours, draw_plainly(pipeline, requests, sampler))
    assert largest <= 3
    assert share < 0.01


def test_each_prompt_is_encoded_once_for_all_rounds_and_batches(pipeline):
    requests = request_images(PROMPTS, 3, 0)
    with Rows(pipeline.text_encoder) as rows:
        generate_images(pipeline, requests, Sampler(1, 7.5, 64, 64), batch_size=2)
    assert sum(rows) == len(PROMPTS) + 1  # the empty one of guidance
    assert rows == [2, 1, 1]


def test_a_batch_is_done_before_the_next_one_begins_and_is_not_kept(pipeline):
    requests = request_images(PROMPTS, 3, 0)
    alive = []
    most = 0
    with Rows(pipeline.unet) as rows:
        for batch in generate_batches(pipeline, requests, Sampler(1, 7.5, 64, 64), batch_size=3):
            assert len(rows) == len(alive) // 3 + 1
            alive += [weakref.ref(picture.image) for picture in batch]
            most = max(most, sum(reference() is not None for reference in alive))
    assert len(alive) == 9
    assert most <= 6


def test_images_are_decoded_in_parts_and_a_last_batch_can_be_filled(pipeline):
    requests = request_images(PROMPTS, 1, 0)
    sampler = Sampler(2, 7.5, 64, 64)
    with Rows(pipeline.vae.decoder) as decoded, Rows(pipeline.unet) as sampled:
        batches = generate_batches(
            pipeline, requests, sampler, batch_size=2, decode_batch_size=1, fill_batches=True
        )
        filled = [picture for batch in batches for picture in batch]
    assert decoded == [1, 1, 1]
    assert set(sampled) == {4}
    assert [picture.request for picture in filled] == requests
    together = generate_images(pipeline, requests, sampler, batch_size=3)
    assert differences([picture.image for picture in filled], together)[0] <= 1


def test_bfloat16_draws_the_same_scenes_from_the_same_noise(pipeline, plain):
    half = prepare_pipeline(load_pipeline(MODELS / "stable_diffusion"), precision="bfloat16")
    seen = []
    hook = half.unet.conv_in.register_forward_hook(lambda *call: seen.append(call[1][0].dtype))
    requests = request_images(PROMPTS, 2, 0)
    kept = []

    def keep(pipeline, step, timestep, values):
        kept.append(values["latents"].dtype)
        return values

    ours = generate_images(half, requests, SAMPLER, batch_size=6, on_step_end=keep)
    hook.remove()
    assert set(seen) == {torch.bfloat16}
    assert set(kept) == {torch.float32}
    pixels, exact = (np.stack([np.asarray(i, float) for i in own]) for own in (ours, plain))
    assert 0 < np.abs(pixels - exact).mean() < 6
    assert np.abs(np.roll(exact, 2, axis=0) - exact).mean() > 20  # of other scenes


def test_a_compiled_unet_is_called_in_its_place(pipeline):
    """Without the minutes that its kernels take: a call may find them or go on without."""
    compiled = prepare_pipeline(
        load_pipeline(MODELS / "stable_diffusion"), precision="float32", compile_unet=True
    )
    requests = request_images(PROMPTS, 1, 0)
    sampler = Sampler(1, 7.5, 64, 64)
    with (
        torch.compiler.set_stance("fail_on_recompile"),
        pytest.raises(RuntimeError, match="recomp"),
    ):
        generate_images(compiled, requests, sampler, batch_size=3)
    with torch.compiler.set_stance("force_eager"):
        ours = generate_images(compiled, requests, sampler, batch_size=3)
    assert differences(ours, generate_images(pipeline, requests, sampler, batch_size=3))[0] <= 1


def test_half_precision_on_a_cpu_is_refused_by_name():
    with pytest.raises(ValueError, match=r"sampler\.precision: float16 needs a GPU"):
        check_precision("cpu", "float16")
    check_precision("cpu", "bfloat16")


def test_images_survive_the_tar_with_their_settings_and_equal_images_give_equal_bytes(tmp_path):
    samples = [
        ImageSample(f"{number}_0", item.image, {"prompt": item.sentence.text, "seed": number})
        for number, item in enumerate(draw_held_out(5, seed=0))
    ]
    counts = []
    write_images(tmp_path / "a.tar", [samples[:2], samples[2:4], samples[4:]], counts.append)
    write_images(tmp_path / "b.tar", [samples])
    assert counts == [2, 2, 1]
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    again = read_images(tmp_path / "a.tar")
    assert list(again) == [sample.name for sample in samples]
    for sample, (name, image) in zip(samples, iterate_images(tmp_path / "a.tar"), strict=True):
        assert name == sample.name
        assert np.array_equal(np.asarray(image), np.asarray(sample.image))
    for record in webdataset.WebDataset(str(tmp_path / "a.tar"), shardshuffle=False):
        number = int(record["__key__"].split("_")[0])
        assert json.loads(record["json"]) == samples[number].settings
