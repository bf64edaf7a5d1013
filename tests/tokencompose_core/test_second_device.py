"""Nothing is left on the CPU by what computes elsewhere, and it gives what it gives on the CPU."""

import os
from collections.abc import Iterator
from threading import Barrier

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, DiffusionPipeline, PNDMScheduler
from torch import Tensor
from transformers import CLIPTokenizerFast

from data_schemas.configs.curate_config import CurateConfig
from data_schemas.records import NounPhrase
from tests.conftest import MODELS
from tests.second_device import SecondTensor, second_device
from tests.tiny_detectors import write_owlvit
from tests.tiny_models import KINDS, Kind, build_pipeline
from tests.tokencompose_core.training.small_run import make_samples
from tokencompose_core.attention.capture import capture_attention
from tokencompose_core.attention.layers import cross_attention_layers
from tokencompose_core.captions.clip import load_clip, score_captions
from tokencompose_core.checkpoints.locate import require
from tokencompose_core.evaluation.detect import detect_categories
from tokencompose_core.evaluation.detectors import load_detector
from tokencompose_core.evaluation.generate import Sampler, generate_images, request_images
from tokencompose_core.evaluation.image_features import clip_extractor, extract_features
from tokencompose_core.evaluation.prepare_pipeline import prepare_pipeline
from tokencompose_core.evaluation.prompts import Prompt
from tokencompose_core.masking.convert_grounding_dino import convert_grounding_dino
from tokencompose_core.masking.convert_sam_hq import convert_sam_hq
from tokencompose_core.masking.ground_phrases import ground_phrases
from tokencompose_core.masking.grounding_dino import load_grounding_dino
from tokencompose_core.masking.sam_hq import load_sam_hq
from tokencompose_core.masking.transformers_grounding_dino import (
    load_transformers_grounding_dino,
)
from tokencompose_core.masking.transformers_sam_hq import load_transformers_sam_hq
from tokencompose_core.objectives.tokencompose import paper_losses, released_losses
from tokencompose_core.pocket.floors.held_out import draw_held_out
from tokencompose_core.training.encode_shard import encode_samples, map_sides
from tokencompose_core.training.step import batch_maker, draw, forward_losses
from tokencompose_core.training.validate import validate_unet

MASK = CurateConfig.load("pocket").mask
OF_DINO = (
    require(MASK.detector_config),
    require(MASK.detector_checkpoint),
    str(require(MASK.text_encoder)),
)
OF_SAM = (require(MASK.segmenter_config), require(MASK.segmenter_checkpoint))


@pytest.fixture
def device() -> Iterator[str]:
    with second_device() as name:
        yield name


@pytest.fixture(scope="module")
def scenes():
    return draw_held_out(5, seed=3)


def make_pipeline(kind: Kind, device: str) -> DiffusionPipeline:
    torch.manual_seed(0)
    pipeline = build_pipeline(kind).to(device)
    for name in ("tokenizer", "tokenizer_2"):
        slow = getattr(pipeline, name, None)
        if slow is not None:  # encoding needs offsets of characters
            fast = CLIPTokenizerFast.from_pretrained(
                MODELS / "stable_diffusion/tokenizer",
                model_max_length=slow.model_max_length,
                pad_token=slow.pad_token,
            )
            setattr(pipeline, name, fast)
    return pipeline


def test_what_is_left_behind_is_noticed(device):
    layer = torch.nn.Linear(3, 3).to(device)
    assert isinstance(layer.weight, SecondTensor)
    with pytest.raises(RuntimeError, match=r"on the CPU those of \[\(2, 3\)\]"):
        layer(torch.randn(2, 3))
    assert layer(torch.randn(2, 3).to(device)).cpu().shape == (2, 3)
    with pytest.raises(TypeError, match="copied to the CPU first"):
        layer.weight.detach().numpy()


@pytest.mark.parametrize("objective", [paper_losses, released_losses])
@pytest.mark.parametrize("kind", KINDS)
def test_a_step_of_training(kind, objective, device):
    def losses_and_gradients(device: str) -> tuple[dict[str, float], list[Tensor]]:
        pipeline = make_pipeline(kind, device)
        samples, _ = encode_samples(
            make_samples(),
            pipeline,
            resolution=32,
            sides=map_sides(2, 16),
            reduction="coverage",
            batch_size=2,
        )
        noise_scheduler = DDPMScheduler.from_config(pipeline.scheduler.config)
        make_batch = batch_maker(samples, torch.device(device))
        unet = pipeline.unet.train()
        unet.enable_gradient_checkpointing()
        with capture_attention(unet, cross_attention_layers(unet, ("mid", "up"), 16)) as attention:
            terms = forward_losses(
                unet,
                noise_scheduler,
                make_batch(samples.keys[:3], [False, True, False]),
                draw(samples, noise_scheduler, 3, seed=1),
                attention,
                objective,
                snr_gamma=5.0,
            )
            (terms["denoising"] + terms["token"] + terms["pixel"]).backward()
        held_out = validate_unet(unet, noise_scheduler, samples, objective, layers=("mid", "up"))
        gradients = [p.grad.cpu() for p in unet.parameters() if p.grad is not None]
        return {name: float(value.detach()) for name, value in terms.items()} | held_out, gradients

    here, there = losses_and_gradients("cpu"), losses_and_gradients(device)
    assert there[0] == pytest.approx(here[0], rel=1e-5)
    assert len(here[1]) == len(there[1])
    for mine, other in zip(here[1], there[1], strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "precision"), [*((kind, "float32") for kind in KINDS), ("sdxl", "bfloat16")]
)
def test_images(kind, precision, device):
    prompts = [Prompt(0, "a cat and a dog", ("cat", "dog")), Prompt(1, "a kite", ("kite",))]

    def images(device: str) -> np.ndarray:
        pipeline = make_pipeline(kind, device)
        pipeline.set_progress_bar_config(disable=True)
        pipeline.scheduler = PNDMScheduler.from_config(
            pipeline.scheduler.config, skip_prk_steps=True
        )
        prepare_pipeline(pipeline, precision=precision)
        made = generate_images(
            pipeline, request_images(prompts, 2, 0), Sampler(2, 7.5, 32, 32), batch_size=3
        )
        return np.stack([np.asarray(image) for image in made]).astype(int)

    assert np.abs(images("cpu") - images(device)).max() <= (3 if precision == "float32" else 16)


def test_scores_of_captions_and_features_of_images(scenes, device):
    def computed(device: str) -> tuple[list[list[float]], np.ndarray]:
        clip = load_clip(MODELS / "clip", "", device=device)
        captions = [[item.sentence.text, item.wrong.text] for item in scenes]
        images = [item.image for item in scenes]
        scored = score_captions(clip, images.__getitem__, captions, batch_size=3)
        features = extract_features(
            clip_extractor(clip), images.__getitem__, len(images), resolution=64, batch_size=3
        )
        return [one.scores for one in scored if one], np.stack([*features])

    here, there = computed("cpu"), computed(device)
    np.testing.assert_allclose(here[0], there[0], atol=1e-5)
    np.testing.assert_allclose(here[1], there[1], atol=1e-4)


@pytest.mark.parametrize("package", ["own", "transformers"])
def test_boxes_and_masks(package, scenes, device, tmp_path):
    if package == "transformers":
        convert_grounding_dino(*OF_DINO, tmp_path / "dino")
        convert_sam_hq(*OF_SAM, tmp_path / "sam")

    def found(device: str) -> list[list[tuple[str, list, str]]]:
        if package == "own":
            detector = load_grounding_dino(*OF_DINO, device=device)
            segmenter = load_sam_hq(*OF_SAM, device=device)
        else:
            detector = load_transformers_grounding_dino(str(tmp_path / "dino"), device=device)
            segmenter = load_transformers_sam_hq(str(tmp_path / "sam"), device=device)
        grounded = ground_phrases(
            detector,
            segmenter,
            lambda index: scenes[index].image,
            [item.image.size for item in scenes],
            [[NounPhrase(text=n, start=0, end=3) for n in ("cat", "clock", "kite")]] * len(scenes),
            box_threshold=0.25,
            text_threshold=0.25,
            nms_threshold=0.7,
            short_side=112,
            long_side=144,
            batch_size=3,
        )
        by_image = dict(grounded)
        return [
            [(p.text, np.round(p.scores, 3).tolist(), p.mask_counts) for p in by_image[index]]
            for index in range(len(scenes))
        ]

    here, there = found("cpu"), found(device)
    assert any(counts for phrases in here for *_, counts in phrases)
    assert here == there


@pytest.mark.skipif(os.cpu_count() == 1, reason="a single core loads one batch at a time")
def test_several_batches_are_loaded_at_once(scenes, device):
    together = Barrier(2, timeout=60)  # broken, if nobody else comes

    def load_image(index: int):
        together.wait()
        return scenes[index].image

    clip = load_clip(MODELS / "clip", "", device=device)
    scored = score_captions(clip, load_image, [["a cat"]] * 4, batch_size=1)
    assert len([*scored]) == 4


@pytest.mark.parametrize("architecture", ["owlv2", "owlvit"])
def test_detections(architecture, scenes, device, tmp_path):
    folder = MODELS / "owlv2" if architecture == "owlv2" else write_owlvit(tmp_path)

    def scores(device: str) -> list[list[float]]:
        found = detect_categories(
            load_detector(architecture, folder, device=device),
            [item.image for item in scenes],
            [["cat", "clock"]] * len(scenes),
            vocabulary=["cat", "clock", "kite"],
            query="a photo of a {name}",
            batch_size=3,
        )
        return [[one.score for one in own] for own in found]

    here, there = scores("cpu"), scores(device)
    assert sum(map(len, here)) > 0
    for mine, other in zip(here, there, strict=True):
        assert other == pytest.approx(mine, abs=1e-5)
