"""The stages rank, parse and mask with models of the published sizes, on a folder of photographs.

    python benchmarks/full_size.py PHOTOS/captions.jsonl [--limit 10]

CLIP ViT-L-14-336, Grounding DINO SwinT with a BERT of base size, and SAM-HQ vit_h are built from
their configs with random weights, so time, memory and shapes are real and what is found is not.
Nouns come from the pocket world's tagger. Random weights give hundreds of boxes; of those that
overlap only the best is kept, so that as many are decoded as a trained detector may find.

The file holds JSON lines with `img_path`, beside it, and `caption`, a string or a list.
"""

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import open_clip
import torch
from segment_anything_hq import sam_model_registry
from transformers import AutoTokenizer, BertConfig, BertModel

from data_schemas.configs.curate_config import CurateConfig
from tokencompose_core.captions.clip import Clip, score_captions
from tokencompose_core.checkpoints.locate import require
from tokencompose_core.masking.ground_phrases import ground_phrases
from tokencompose_core.masking.grounding_dino import (
    PackagedGroundingDino,
    build_grounding_dino,
    keep_texts_apart,
    load_grounding_dino_config,
)
from tokencompose_core.masking.sam_hq import PackagedSamHq
from tokencompose_core.nouns.tagger import find_noun_phrases, load_tagger
from tokencompose_core.store.open_image import open_image

PAPER, POCKET = CurateConfig.load("paper"), CurateConfig.load("pocket")
NMS_THRESHOLD = 0.1


def say(stage: str, started: float, note: str) -> None:
    """Print time since `started` and the most memory that the process has had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{stage:14}{time.perf_counter() - started:9.1f} s{peak:8.2f} GiB  {note}", flush=True)


def build_clip() -> Clip:
    """CLIP at its full size."""
    model, _, preprocess = open_clip.create_model_and_transforms(PAPER.rank.model, pretrained=None)
    return Clip(model.eval(), preprocess, open_clip.get_tokenizer(PAPER.rank.model), "cpu")


def build_detector() -> PackagedGroundingDino:
    """Grounding DINO at its full size; words come from the pocket world's tokenizer."""
    with tempfile.TemporaryDirectory() as folder:
        BertModel(BertConfig()).save_pretrained(folder)
        AutoTokenizer.from_pretrained(require(POCKET.mask.text_encoder)).save_pretrained(folder)
        config = load_grounding_dino_config(require(PAPER.mask.detector_config), folder)
        model = build_grounding_dino(config)
    keep_texts_apart(model)
    return PackagedGroundingDino(model.eval())


def main() -> None:
    """Run the three stages and print what each took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("captions", type=Path)
    parser.add_argument("--limit", type=int, default=10)
    options = parser.parse_args()
    torch.manual_seed(0)
    rows = [json.loads(line) for line in options.captions.read_text("utf-8").splitlines()]
    rows = rows[: options.limit]
    paths = [options.captions.parent / row["img_path"] for row in rows]
    candidates = [[c] if isinstance(c := row["caption"], str) else c for row in rows]
    images = [open_image(path) for path in paths]
    print(f"{len(rows)} photographs, {torch.get_num_threads()} threads")

    started = time.perf_counter()
    clip = build_clip()
    say("build CLIP", started, f"{sum(p.numel() for p in clip.model.parameters()) / 1e6:.0f} M")
    started = time.perf_counter()
    scores = score_captions(clip, images, candidates, batch_size=4)
    captions = [
        texts[max(range(len(texts)), key=own.__getitem__)]
        for texts, own in zip(candidates, scores, strict=True)
    ]
    say("rank", started, f"{sum(map(len, candidates))} captions")
    del clip

    started = time.perf_counter()
    tagger = load_tagger(require(POCKET.parse.model))
    phrases = find_noun_phrases(
        tagger, captions, noun_tags=POCKET.parse.noun_tags, batch_size=POCKET.parse.batch_size
    )
    say("parse", started, f"{sum(map(len, phrases))} phrases")
    kept = [number for number, own in enumerate(phrases) if own]

    started = time.perf_counter()
    detector, segmenter = build_detector(), PackagedSamHq(sam_model_registry["vit_h"]().eval())
    million = [sum(p.numel() for p in m.model.parameters()) / 1e6 for m in (detector, segmenter)]
    say("build the rest", started, f"{million[0]:.0f} M and {million[1]:.0f} M")
    started = time.perf_counter()
    settings = PAPER.mask
    for number, found in ground_phrases(
        detector,
        segmenter,
        lambda index: open_image(paths[kept[index]]),
        [images[number].size for number in kept],
        [phrases[number] for number in kept],
        box_threshold=settings.box_threshold,
        text_threshold=settings.text_threshold,
        nms_threshold=NMS_THRESHOLD,
        short_side=settings.short_side,
        long_side=settings.long_side,
        batch_size=settings.batch_size,
        prompting=settings.prompting,
    ):
        boxes, masks = sum(len(p.boxes) for p in found), sum(bool(p.mask_counts) for p in found)
        name, size = paths[kept[number]].name, images[kept[number]].size
        say("mask", started, f"{name} {size}: {len(found)} phrases, {boxes} boxes, {masks} masks")


if __name__ == "__main__":
    main()
