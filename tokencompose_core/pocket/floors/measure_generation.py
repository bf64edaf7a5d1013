"""OWLv2 and the small Stable Diffusion."""

import random
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from transformers import CLIPTokenizerFast

from tokencompose_core.attention.capture import capture_attention
from tokencompose_core.attention.layers import cross_attention_layers
from tokencompose_core.evaluation.detect import detect_categories
from tokencompose_core.evaluation.detectors import load_detector
from tokencompose_core.evaluation.generate import (
    Sampler,
    generate_images,
    load_pipeline,
    request_images,
)
from tokencompose_core.evaluation.judge_images import SeenBox, SeenImage, judge_images
from tokencompose_core.evaluation.prompts import Prompt, multigen_text, sample_prompts
from tokencompose_core.evaluation.score import score_multigen
from tokencompose_core.nouns.token_positions import token_positions
from tokencompose_core.objectives.phrase_tokens import index_phrase_tokens, token_maps
from tokencompose_core.objectives.token_loss import inside_share
from tokencompose_core.pocket.categories import CATEGORIES
from tokencompose_core.pocket.distractors import Distractor, draw_distractor
from tokencompose_core.pocket.floors.figure import Figure
from tokencompose_core.pocket.floors.held_out import HeldOut, draw_held_out
from tokencompose_core.training.crop import crop_image, crop_mask, reduce_mask

_NAMES = [category.name for category in CATEGORIES]
_detect = partial(detect_categories, vocabulary=_NAMES, query="a photo of a {name}", batch_size=64)


def measure_owlv2(
    models: Path, num_scenes: int, num_distractors: int, *, threshold: float, seed: int
) -> list[Figure]:
    """Whether OWLv2 finds what is there, and nothing where there is nothing.

    Measured on square scenes of 64 pixels, as the small Stable Diffusion draws them.
    """
    owlv2 = load_detector("owlv2", models / "owlv2")
    held_out = draw_held_out(num_scenes, seed=seed, square=True)
    images: list[Image.Image] = []
    asked: list[list[str]] = []
    for number, item in enumerate(held_out):
        rng = random.Random(f"asked-{seed}-{number}")
        others = [name for name in _NAMES if name not in item.scene.names]
        names = item.scene.names + rng.sample(others, 5 - len(item.scene.names))
        images.append(item.image.resize((64, 64), Image.Resampling.BICUBIC))
        asked.append(names)
    found = _detect(owlv2, images, asked)
    there, absent = [], []
    for item, names, detections in zip(held_out, asked, found, strict=True):
        seen = {d.category for d in detections if d.score > threshold}
        there += [name in seen for name in names if name in item.scene.names]
        absent += [name not in seen for name in names if name not in item.scene.names]
    figures = [
        Figure("OWLv2", "finds what is there", float(np.mean(there)), 0.95, 1.0, len(there)),
        Figure(
            "OWLv2", "finds nothing that is not", float(np.mean(absent)), 0.95, 1.0, len(absent)
        ),
    ]
    kinds: tuple[Distractor, ...] = ("blobs", "fragments", "noise")
    for kind in kinds:
        pictures: list[Image.Image] = []
        wanted: list[list[str]] = []
        for number in range(num_distractors):
            rng = random.Random(f"distractor-{kind}-{seed}-{number}")
            pictures.append(Image.fromarray(draw_distractor(rng, kind, 64)))
            wanted.append(rng.sample(_NAMES, 5))
        found = _detect(owlv2, pictures, wanted)
        fires = [any(d.score > threshold for d in detections) for detections in found]
        figures.append(
            Figure("OWLv2", f"fires at {kind}", float(np.mean(fires)), 0.0, 0.05, len(fires))
        )
    return figures


def measure_stable_diffusion(
    models: Path,
    held_out: Sequence[HeldOut],
    *,
    num_single: int,
    num_five: int,
    threshold: float,
    seed: int,
    batch_size: int = 32,
) -> tuple[list[Figure], list[tuple[str, Image.Image]], list[tuple[str, Image.Image]]]:
    """Single objects succeed, five at once mostly not, and nouns attend to their objects.

    Returns:
        The figures, and the pictures of single and of five objects with their labels.
    """
    pipeline = load_pipeline(models / "stable_diffusion")
    owlv2 = load_detector("owlv2", models / "owlv2")
    singles = [
        Prompt(i, multigen_text([_NAMES[i % len(_NAMES)]]), (_NAMES[i % len(_NAMES)],))
        for i in range(num_single)
    ]
    fives = sample_prompts(_NAMES, num_prompts=num_five, num_objects=5, seed=seed)
    sampler = Sampler(num_inference_steps=50, guidance_scale=7.5, height=64, width=64)
    results = []
    for prompts in (singles, fives):
        requests = request_images(prompts, 1, seed)
        images = generate_images(pipeline, requests, sampler, batch_size=batch_size)
        found = _detect(owlv2, images, [p.categories for p in prompts])
        seen = {
            (prompt.prompt_id, 0): SeenImage([SeenBox(d.category, d.score) for d in detections])
            for prompt, detections in zip(prompts, found, strict=True)
        }
        results.append((images, judge_images(prompts, 1, seen, threshold=threshold)))
    (single_images, single_judged), (five_images, five_judged) = results
    hits = [image.num_found == 1 for image in single_judged]
    score = score_multigen(fives, 1, five_judged)
    gain, count = measure_attention(models, pipeline, held_out)
    figures = [
        Figure(
            "Stable Diffusion", "single objects succeed", float(np.mean(hits)), 0.8, 1.0, len(hits)
        ),
        *(
            Figure(
                "Stable Diffusion",
                f"MG{k} of five",
                score.mean[k] / 100,
                0.2 if k == 3 else 0.0,
                0.7 if k == 3 else 1.0,
                len(fives),
            )
            for k in (2, 3, 4, 5)
        ),
        Figure(
            "Stable Diffusion",
            "attention inside masks, times chance",
            gain,
            1.3,
            float("inf"),
            count,
        ),
    ]
    return (
        figures,
        [(p.categories[0], image) for p, image in zip(singles, single_images, strict=True)],
        [(", ".join(p.categories), image) for p, image in zip(fives, five_images, strict=True)],
    )


@torch.inference_mode()
def measure_attention(
    models: Path, pipeline: StableDiffusionPipeline, held_out: Sequence[HeldOut]
) -> tuple[float, int]:
    """Share of nouns' attention inside their masks over the masks' area, and number of nouns.

    Measured at half of the noise's steps, in the layers that the objective supervises.
    """
    tokenizer = CLIPTokenizerFast.from_pretrained(models / "stable_diffusion/tokenizer")
    layers = cross_attention_layers(pipeline.unet, ("mid", "up"), pipeline.unet.config.sample_size)
    ratios: list[float] = []
    for number, item in enumerate(held_out):
        spans, masks = [], []
        for phrase in item.phrases:
            own = item.masks_of(phrase.text)
            if own:
                cropped = crop_mask(np.any(own, axis=0), 64)
                if bool((cropped > 0.5).any()):
                    spans.append((phrase.start, phrase.end))
                    masks.append(cropped)
        positions = token_positions(tokenizer, item.sentence.text, spans)
        tokens = index_phrase_tokens([positions])
        if not len(tokens):
            continue
        generator = torch.Generator().manual_seed(number)
        latents = pipeline.vae.encode(crop_image(item.image, 64)[None]).latent_dist.mean
        latents = latents * pipeline.vae.config.scaling_factor
        timestep = torch.tensor([500])
        noise = torch.randn(latents.shape, generator=generator)
        ids = tokenizer(
            item.sentence.text, padding="max_length", truncation=True, return_tensors="pt"
        ).input_ids
        with capture_attention(pipeline.unet, layers) as attention:
            attention.select(tokens.columns)
            pipeline.unet(
                pipeline.scheduler.add_noise(latents, noise, timestep),
                timestep,
                pipeline.text_encoder(ids)[0],
            )
        for maps in attention.maps.values():
            side = maps.shape[2]
            grids = torch.stack([reduce_mask(mask, side, "coverage") for mask in masks])
            wanted = grids[tokens.phrase]
            inside = inside_share(token_maps(maps, tokens).mean(dim=1), wanted)
            ratios += (inside / wanted.float().mean(dim=(1, 2))).tolist()
    return float(np.mean(ratios)), len(ratios) // len(layers)
