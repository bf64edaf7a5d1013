"""What the pocket models must reach, measured on scenes that none of them was trained on."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from data_schemas.records import NounPhrase
from tokencompose_core.attention.capture import capture_attention, cross_attention_layers
from tokencompose_core.captions.clip import load_clip, score_captions
from tokencompose_core.evaluation.detect import detect_categories, load_owlv2
from tokencompose_core.evaluation.generate import generate_images, load_pipeline, request_images
from tokencompose_core.evaluation.prompts import Prompt, multigen_text, sample_prompts
from tokencompose_core.evaluation.score import score_multigen
from tokencompose_core.masking.ground_phrases import ground_phrases
from tokencompose_core.masking.grounding_dino import detect_phrases, load_grounding_dino
from tokencompose_core.masking.sam_hq import load_sam_hq, segment_boxes
from tokencompose_core.nouns.tagger import find_noun_phrases, join_nouns, load_tagger
from tokencompose_core.nouns.token_positions import token_positions
from tokencompose_core.objectives.phrase_tokens import index_phrase_tokens, select_columns
from tokencompose_core.objectives.token_loss import inside_share
from tokencompose_core.pocket.categories import CATEGORIES
from tokencompose_core.pocket.distractors import Distractor, draw_distractor
from tokencompose_core.pocket.drawing import draw_object_indices, draw_scene
from tokencompose_core.pocket.scenes import Scene, sample_scene, sample_varied_names
from tokencompose_core.pocket.sentences import (
    HELD_OUT_TEMPLATES,
    Sentence,
    plural,
    write_sentence,
)
from tokencompose_core.store.run_lengths import decode_mask
from tokencompose_core.training.crop import crop_image, crop_mask, reduce_mask

_SIZES = ((240, 180), (180, 240), (200, 200), (224, 192), (192, 224), (256, 192))
_NOUN_TAGS = ("NN", "NNS", "NNP", "NNPS")
_NAMES = [category.name for category in CATEGORIES]
_SMALLEST_AREA = 20


@dataclass(frozen=True)
class Figure:
    """A measured share against its floor or ceiling, all in [0, 1] or as a factor.

    Attributes:
        model: What was measured.
        name: Which property.
        value: What it came to.
        low: Least value allowed.
        high: Largest value allowed.
        count: How many cases were looked at.
    """

    model: str
    name: str
    value: float
    low: float
    high: float
    count: int

    @property
    def reached(self) -> bool:
        """Whether the value is within its limits."""
        return self.low <= self.value <= self.high


@dataclass(frozen=True)
class HeldOut:
    """A scene with its picture, the index of the object at every pixel, and a caption."""

    scene: Scene
    image: Image.Image
    indices: np.ndarray
    sentence: Sentence
    wrong: Sentence

    @property
    def phrases(self) -> list[NounPhrase]:
        """The noun phrases of the caption, by its true tags."""
        text, position, tokens = self.sentence.text, 0, []
        for word, tag in self.sentence.words:
            start = text.index(word, position)
            position = start + len(word)
            tokens.append((start, position, tag in _NOUN_TAGS))
        return join_nouns(text, tokens)

    def masks_of(self, phrase: str) -> list[np.ndarray]:
        """Masks of the visible objects that a phrase names; none if it names no category."""
        return [
            mask
            for number, item in enumerate(self.scene.objects)
            if phrase.lower() in (item.category.name, plural(item.category.name))
            and (mask := self.indices == number).sum() >= _SMALLEST_AREA
        ]


def draw_held_out(count: int, *, seed: int) -> list[HeldOut]:
    """Scenes as the pocket world holds them, from seeds that no training uses."""
    scenes = []
    for number in range(count):
        rng = random.Random(f"held-out-{seed}-{number}")
        width, height = rng.choice(_SIZES)
        scene = sample_scene(
            rng, sample_varied_names(rng), width=width, height=height, twin_share=0.12
        )
        scenes.append(
            HeldOut(
                scene,
                draw_scene(scene),
                draw_object_indices(scene),
                write_sentence(rng, scene),
                write_sentence(rng, scene, quality="wrong"),
            )
        )
    return scenes


def measure_clip(models: Path, held_out: Sequence[HeldOut]) -> list[Figure]:
    """How often CLIP prefers the right caption to the wrong one of the same image."""
    clip = load_clip(models / "clip", "")
    scores = score_captions(
        clip,
        [item.image for item in held_out],
        [[item.sentence.text, item.wrong.text] for item in held_out],
        batch_size=64,
    )
    share = float(np.mean([right > wrong for right, wrong in scores]))
    return [Figure("CLIP", "prefers the right caption", share, 0.95, 1.0, len(scores))]


def measure_tagger(models: Path, count: int, *, seed: int) -> list[Figure]:
    """F1 of nouns in sentences of templates that were never trained on."""
    tagger = load_tagger(models / "tagger")
    sentences = []
    for number in range(count):
        rng = random.Random(f"tagger-{seed}-{number}")
        scene = sample_scene(rng, sample_varied_names(rng), width=200, height=200, twin_share=0.3)
        sentences.append(write_sentence(rng, scene, templates=HELD_OUT_TEMPLATES))
    found = find_noun_phrases(
        tagger, [s.text for s in sentences], noun_tags=_NOUN_TAGS, batch_size=64
    )
    true_positives = predicted = wanted = 0
    for sentence, phrases in zip(sentences, found, strict=True):
        own = {word for phrase in phrases for word in _word_starts(sentence.text, phrase)}
        gold, position = set(), 0
        for word, tag in sentence.words:
            start = sentence.text.index(word, position)
            position = start + len(word)
            if tag in _NOUN_TAGS:
                gold.add(start)
        true_positives += len(own & gold)
        predicted += len(own)
        wanted += len(gold)
    score = 2 * true_positives / max(1, predicted + wanted)
    return [Figure("tagger", "F1 of nouns, unseen templates", score, 0.99, 1.0, wanted)]


def _word_starts(text: str, phrase: NounPhrase) -> list[int]:
    starts, inside = [], False
    for position in range(phrase.start, phrase.end):
        if text[position] != " " and not inside:
            starts.append(position)
        inside = text[position] != " "
    return starts


def measure_grounding_dino(
    models: Path, held_out: Sequence[HeldOut], settings: dict, *, seed: int
) -> list[Figure]:
    """Recall and precision of boxes, and silence about what is not in the picture."""
    folder = models / "grounding_dino"
    model = load_grounding_dino(
        folder / "config.json", folder / "model.safetensors", str(folder / "bert")
    )
    hits = wanted = boxes = silent = 0
    for number, item in enumerate(held_out):
        rng = random.Random(f"absent-{seed}-{number}")
        absent = rng.choice([name for name in _NAMES if name not in item.scene.names])
        phrases = [phrase.text for phrase in item.phrases]
        place = rng.randint(0, len(phrases))
        phrases.insert(place, absent)
        found = detect_phrases(model, [item.image], [phrases], **settings)[0]
        silent += all(box.phrase_index != place for box in found)
        for index, phrase in enumerate(phrases):
            own = [box.box_xyxy for box in found if box.phrase_index == index]
            true = [_box_of(mask) for mask in item.masks_of(phrase)]
            if index != place:
                hits += _matched(true, own)
                wanted += len(true)
                boxes += len(own)
    return [
        Figure("Grounding DINO", "recall at IoU 0.5", hits / wanted, 0.90, 1.0, wanted),
        Figure("Grounding DINO", "precision at IoU 0.5", hits / max(1, boxes), 0.90, 1.0, boxes),
        Figure(
            "Grounding DINO",
            "no box for an absent noun",
            silent / len(held_out),
            0.90,
            1.0,
            len(held_out),
        ),
    ]


def measure_sam_hq(models: Path, held_out: Sequence[HeldOut]) -> list[Figure]:
    """IoU of masks from true boxes."""
    model = load_sam_hq(models / "sam_hq/config.json", models / "sam_hq/model.safetensors")
    values = []
    for item in held_out:
        masks = [item.indices == n for n in range(len(item.scene.objects))]
        masks = [mask for mask in masks if mask.sum() >= _SMALLEST_AREA]
        found = segment_boxes(model, item.image, [_box_of(mask) for mask in masks])
        values += [_iou(mask, own) for mask, own in zip(masks, found, strict=True)]
    return [
        Figure(
            "SAM-HQ", "mask IoU from the true box", float(np.mean(values)), 0.9, 1.0, len(values)
        )
    ]


def measure_chain(models: Path, held_out: Sequence[HeldOut], settings: dict) -> list[Figure]:
    """IoU of phrase masks from image and caption alone; a phrase without mask counts as 0."""
    tagger = load_tagger(models / "tagger")
    folder = models / "grounding_dino"
    detector = load_grounding_dino(
        folder / "config.json", folder / "model.safetensors", str(folder / "bert")
    )
    segmenter = load_sam_hq(models / "sam_hq/config.json", models / "sam_hq/model.safetensors")
    phrases = find_noun_phrases(
        tagger, [i.sentence.text for i in held_out], noun_tags=_NOUN_TAGS, batch_size=64
    )
    values = []
    for item, words in zip(held_out, phrases, strict=True):
        grounded = ground_phrases(detector, segmenter, [item.image], [words], **settings)[0]
        of_span = {(phrase.start, phrase.end): phrase.mask_counts for phrase in grounded}
        for phrase in item.phrases:
            masks = item.masks_of(phrase.text)
            if masks:
                counts = of_span.get((phrase.start, phrase.end), "")
                own = (
                    decode_mask(counts, item.image.height, item.image.width)
                    if counts
                    else np.zeros_like(masks[0])
                )
                values.append(_iou(np.any(masks, axis=0), own))
    return [Figure("chain", "phrase mask IoU", float(np.mean(values)), 0.8, 1.0, len(values))]


def measure_owlv2(
    models: Path, held_out: Sequence[HeldOut], num_distractors: int, *, threshold: float, seed: int
) -> list[Figure]:
    """Whether OWLv2 finds what is there, and nothing where there is nothing."""
    owlv2 = load_owlv2(models / "owlv2")
    images, asked = [], []
    for number, item in enumerate(held_out):
        rng = random.Random(f"asked-{seed}-{number}")
        others = [name for name in _NAMES if name not in item.scene.names]
        names = item.scene.names + rng.sample(others, 5 - len(item.scene.names))
        images.append(item.image.resize((64, 64), Image.Resampling.BICUBIC))
        asked.append(names)
    found = detect_categories(owlv2, images, asked, query="a photo of a {name}", batch_size=64)
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
        pictures, names = [], []
        for number in range(num_distractors):
            rng = random.Random(f"distractor-{kind}-{seed}-{number}")
            pictures.append(Image.fromarray(draw_distractor(rng, kind, 64)))
            names.append(rng.sample(_NAMES, 5))
        found = detect_categories(
            owlv2, pictures, names, query="a photo of a {name}", batch_size=64
        )
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
    owlv2 = load_owlv2(models / "owlv2")
    singles = [
        Prompt(i, multigen_text([_NAMES[i % len(_NAMES)]]), (_NAMES[i % len(_NAMES)],))
        for i in range(num_single)
    ]
    fives = sample_prompts(_NAMES, num_prompts=num_five, num_objects=5, seed=seed)
    sampler = {"num_inference_steps": 50, "guidance_scale": 7.5, "height": 64, "width": 64}
    results = []
    for prompts in (singles, fives):
        requests = request_images(prompts, 1, seed)
        images = generate_images(pipeline, requests, **sampler, batch_size=batch_size)
        found = detect_categories(
            owlv2,
            images,
            [p.categories for p in prompts],
            query="a photo of a {name}",
            batch_size=64,
        )
        best = {}
        for prompt, detections in zip(prompts, found, strict=True):
            scores: dict[str, float] = {}
            for detection in detections:
                scores.setdefault(detection.category, detection.score)
            best[prompt.prompt_id, 0] = scores
        results.append((images, best))
    (single_images, single_best), (five_images, five_best) = results
    hits = [single_best[p.prompt_id, 0].get(p.categories[0], 0.0) > threshold for p in singles]
    score = score_multigen(fives, 1, five_best, threshold=threshold)
    gain, count = measure_attention(pipeline, held_out)
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
def measure_attention(pipeline, held_out: Sequence[HeldOut]) -> tuple[float, int]:
    """Share of nouns' attention inside their masks over the masks' area, and number of nouns.

    Measured at half of the noise's steps, in the layers that the objective supervises.
    """
    tokenizer = _fast_tokenizer(pipeline)
    layers = cross_attention_layers(pipeline.unet, ("mid", "up"))
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
            pipeline.unet(
                pipeline.scheduler.add_noise(latents, noise, timestep),
                timestep,
                pipeline.text_encoder(ids)[0],
            )
        for maps in attention.maps.values():
            side = maps.shape[2]
            grids = torch.stack([reduce_mask(mask, side, "coverage") for mask in masks])
            wanted = grids[tokens.phrase]
            inside = inside_share(select_columns(maps, tokens), wanted)
            ratios += (inside / wanted.float().mean(dim=(1, 2))).tolist()
    return float(np.mean(ratios)), len(ratios) // len(layers)


def _fast_tokenizer(pipeline):
    from transformers import CLIPTokenizerFast

    return CLIPTokenizerFast.from_pretrained(pipeline.tokenizer.name_or_path)


def _box_of(mask: np.ndarray) -> tuple[float, float, float, float]:
    rows, columns = np.where(mask.any(axis=1))[0], np.where(mask.any(axis=0))[0]
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / max(1, (a | b).sum()))


def _matched(true: Sequence[Sequence[float]], found: Sequence[Sequence[float]]) -> int:
    """How many true boxes have a box of their own with an IoU of at least one half."""
    free = list(found)
    count = 0
    for box in true:
        best = max(free, key=lambda other: _box_iou(box, other), default=None)
        if best is not None and _box_iou(box, best) >= 0.5:
            free.remove(best)
            count += 1
    return count


def _box_iou(a: Sequence[float], b: Sequence[float]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)
