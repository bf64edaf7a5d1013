"""Which words of a caption a UNet draws from: what is lost when their text states are gone.

    python benchmarks/words.py [--scenes 200] [--prompts 64] [--seeds 1 2 3]

With the models of `benchmarks/objectives.py`, which are not trained again. Text states of some
tokens are replaced by those that the empty caption has in their places. What they say may be known
from the others: the text encoder has every token see all before it.

First the denoising loss, on scenes of the pocket world that no model was trained on. 100 is its
rise if all states are replaced, so a row says how much of what the caption gives is gone with its
tokens. The noise of a training seed's models has that seed, and so has the base model's in its
place.

Then images of MultiGen's prompts, one of each, with the models of the first seed: how many of the
five objects the detector finds in an image, and the difference to the whole prompt, with its 95 %
interval over prompts (paired bootstrap).
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from jaxtyping import Bool
from objectives import train
from own_object import spread
from torch import Tensor
from transformers import CLIPTokenizerFast

from data_schemas.configs.evaluate_config import EvaluateConfig, SampledPrompts
from data_schemas.configs.finetune_config import FinetuneConfig
from data_schemas.manifest import Manifest
from tokencompose_core.checkpoints.locate import require
from tokencompose_core.evaluation.detect import detect_categories
from tokencompose_core.evaluation.detectors import load_detector
from tokencompose_core.evaluation.generate import generate_images, load_pipeline, request_images
from tokencompose_core.evaluation.paired import Counted, paired_difference
from tokencompose_core.evaluation.prompts import Prompt, sample_prompts
from tokencompose_core.evaluation.record_attention import noun_positions
from tokencompose_core.evaluation.text_states import encode_prompts
from tokencompose_core.pocket.floors.held_out import draw_held_out
from tokencompose_core.shards.read_shard import GroundedSample
from tokencompose_core.training.base_model import check_base_model, load_frozen_parts
from tokencompose_core.training.encode_shard import EncodedSamples, encode_samples
from tokencompose_core.training.validate import validate_unet

POCKET = FinetuneConfig.load("pocket")
BENCHMARK = EvaluateConfig.load("pocket")
SEED = 93
Places = Bool[Tensor, "samples tokens"]


def draw_samples(count: int, model: str) -> tuple[EncodedSamples, CLIPTokenizerFast]:
    """Scenes with the nouns that name their objects, as `model` encodes them; its tokenizer."""
    samples = []
    for number, item in enumerate(draw_held_out(count, seed=SEED)):
        named = [(phrase, item.masks_of(phrase.text)) for phrase in item.phrases]
        own = [(phrase, masks) for phrase, masks in named if masks]
        samples.append(
            GroundedSample(
                key=f"{number:05d}",
                image=item.image,
                caption=item.sentence.text,
                spans=[(phrase.start, phrase.end) for phrase, _ in own],
                masks=[np.any(masks, axis=0) for _, masks in own],
            )
        )
    pipeline = load_frozen_parts(model)
    encoded, _ = encode_samples(
        samples,
        pipeline,
        resolution=POCKET.resolution,
        sides=check_base_model(
            model, resolution=POCKET.resolution, layers=POCKET.objective.layers, prompts=()
        ),
        reduction=POCKET.mask_reduction,
        batch_size=POCKET.encode_batch_size,
    )
    return encoded, pipeline.tokenizer


def parts_of_captions(
    captions: Sequence[str],
    positions: Sequence[Sequence[Sequence[int]]],
    tokenizer: CLIPTokenizerFast,
) -> dict[str, Places]:
    """Where the nouns stand, the other words, and what comes after the words."""
    ids = tokenizer(list(captions), padding="max_length", truncation=True, return_tensors="pt")
    nouns = torch.zeros_like(ids.input_ids, dtype=torch.bool)
    for row, own in enumerate(positions):
        nouns[row, [position for tokens in own for position in tokens]] = True
    # The padding is the end token again: words end where the first of them stands.
    words = (ids.input_ids != tokenizer.eos_token_id) & (ids.input_ids != tokenizer.bos_token_id)
    after = torch.cumsum(ids.input_ids == tokenizer.eos_token_id, dim=1) > 0
    assert not (nouns & ~words).any()
    return {"nouns": nouns, "other words": words & ~nouns, "end, padding": after}


def measure(model: Path, samples: EncodedSamples, gone: Sequence[Places], seed: int) -> list[float]:
    """The denoising loss with the whole caption, and without the tokens of each of `gone`."""
    unet = UNet2DConditionModel.from_pretrained(model, subfolder="unet", torch_dtype=torch.float32)
    noise_scheduler = DDPMScheduler.from_pretrained(model, subfolder="scheduler")
    losses = []
    for places in (torch.zeros_like(gone[0]), *gone):
        states = torch.where(
            places[..., None], samples.empty_hidden_states, samples.encoder_hidden_states
        )
        found = validate_unet(
            unet,
            noise_scheduler,
            replace(samples, encoder_hidden_states=states),
            lambda *_: {},
            layers=["mid"],
            seed=seed,
        )
        losses.append(found["denoising"])
    return losses


def count_objects(model: Path, prompts: Sequence[Prompt], gone: Mapping[str, Tensor]) -> list[int]:
    """Objects found in an image of each prompt, drawn without the tokens that `gone` has of it."""
    from tasks.model_under_test import sampler_settings

    pipeline = load_pipeline(model)
    encode = pipeline.encode_prompt
    (empty,) = encode_prompts(pipeline, [""], batch_size=1).of_prompt[""]

    def encode_rest(texts: list[str] | None, *rest: Any, **options: Any) -> tuple[Tensor, ...]:
        states, nothing = encode(texts, *rest, **options)
        if texts is not None:
            places = torch.stack([gone[text] for text in texts])
            states = torch.where(places[..., None], empty, states)
        return states, nothing

    pipeline.encode_prompt = encode_rest
    settings = BENCHMARK.sampler
    images = generate_images(
        pipeline,
        request_images(prompts, 1, settings.seed),
        sampler_settings(settings),
        batch_size=settings.batch_size,
    )
    looker = BENCHMARK.detector
    found = detect_categories(
        load_detector("owlv2", require(looker.model)),
        images,
        [prompt.categories for prompt in prompts],
        vocabulary=sorted({name for prompt in prompts for name in prompt.categories}),
        query=looker.query,
        batch_size=looker.batch_size,
    )
    return [
        len({one.category for one in detections if one.score > looker.threshold})
        for detections in found
    ]


def print_objects(models: Mapping[str, Path], tokenizer: CLIPTokenizerFast, count: int) -> None:
    """Print the table of images."""
    asked = BENCHMARK.multigen["pocket"].prompts
    assert isinstance(asked, SampledPrompts)
    prompts = sample_prompts(
        asked.categories, num_prompts=count, num_objects=asked.num_objects, seed=asked.seed
    )
    texts = [prompt.text for prompt in prompts]
    positions = [noun_positions(tokenizer, prompt) for prompt in prompts]
    nouns = parts_of_captions(texts, positions, tokenizer)["nouns"]
    rows = {
        "nothing": torch.zeros_like(nouns),
        "nouns": nouns,
        "all but nouns": ~nouns,
        "all": torch.ones_like(nouns),
    }
    ids = np.array([prompt.prompt_id for prompt in prompts])
    cases = np.ones(count)
    whole: dict[str, Counted] = {}
    means: dict[str, list[float]] = {}
    print(f"\nobjects found of {asked.num_objects}, {count} images, difference to the whole prompt")
    print(f"\n{'without':24}" + "".join(f"{arm:>28}" for arm in models))
    for name, places in rows.items():
        gone = dict(zip(texts, places, strict=True))
        cells = ""
        for arm, model in models.items():
            found = Counted(np.array(count_objects(model, prompts, gone), float), cases)
            difference = paired_difference(ids, whole.setdefault(arm, found), found, scale=1.0)
            assert difference is not None
            assert difference.interval is not None
            low, high = difference.interval
            means.setdefault(arm, []).append(found.hits.mean())
            cell = f"{found.hits.mean():.2f}"
            if name != "nothing":
                cell += f" {difference.value:+.2f} [{low:+.2f}, {high:+.2f}]"
            cells += f"{cell:>28}"
        print(f"{name:24}{cells}", flush=True)
    # Of what the whole prompt has above none at all.
    kept = (100 * (m[1] - m[-1]) / (m[0] - m[-1]) for m in means.values())
    print(f"{'kept without nouns, %':24}" + "".join(f"{share:>28.0f}" for share in kept))


def print_tables(
    trained: Mapping[str, Sequence[Manifest]],
    base_model: Path,
    seeds: Sequence[int],
    *,
    num_scenes: int,
    num_prompts: int,
) -> None:
    """Print both tables.

    Args:
        trained: Models of each arm, one a seed.
        base_model: That they were trained from.
        seeds: Of the trainings.
        num_scenes: That the denoising loss is measured on.
        num_prompts: That images are drawn of.
    """
    from tasks.stage import open_store

    samples, tokenizer = draw_samples(num_scenes, str(base_model))
    parts = parts_of_captions(samples.captions, samples.positions, tokenizer)
    rows = parts | {f"all but {name}": ~places for name, places in parts.items()}
    gone = [*rows.values(), torch.ones_like(parts["nouns"])]
    models = {"before": [base_model] * len(seeds)} | {
        arm: [open_store().path(one) / "model" for one in own] for arm, own in trained.items()
    }
    losses = {
        arm: [measure(own, samples, gone, s) for own, s in zip(folders, seeds, strict=True)]
        for arm, folders in models.items()
    }
    print(f"\n{num_scenes} scenes, tokens a caption: ", end="")
    print(", ".join(f"{name} {p.sum(1).float().mean():.1f}" for name, p in parts.items()))
    print(f"rise of the denoising loss, seeds {seeds}, mean (lowest, highest)")
    print(f"\n{'without':24}" + "".join(f"{arm:>24}" for arm in losses))
    for number, name in enumerate(rows, start=1):
        shares = {
            arm: [100 * (own[number] - own[0]) / (own[-1] - own[0]) for own in found]
            for arm, found in losses.items()
        }
        print(f"{name:24}" + "".join(f"{spread(s, digits=1):>24}" for s in shares.values()))
    print(f"{'all':24}" + "".join(f"{'100':>24}" for _ in losses))
    for name, number in (("loss, whole caption", 0), ("loss, empty caption", -1)):
        cells = (spread([own[number] for own in found], digits=4) for found in losses.values())
        print(f"{name:24}" + "".join(f"{cell:>24}" for cell in cells))
    print_objects({arm: own[0] for arm, own in models.items()}, tokenizer, num_prompts)


def main() -> None:
    """Print two tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    options = parser.parse_args()
    print_tables(
        train(options.seeds),
        require(POCKET.base_model),
        options.seeds,
        num_scenes=options.scenes,
        num_prompts=options.prompts,
    )


if __name__ == "__main__":
    main()
