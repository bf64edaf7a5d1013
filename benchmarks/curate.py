"""Images a second from captions and images to masks, beside the released order and the limit.

    python benchmarks/curate.py [--images 96] [--rounds 3] [--batch-size 8]

Three variants take turns in one process, with the pocket models, over JPEG files of the pocket
world, each with two captions; from files to files for the first two.

ours       what the stages rank, parse and mask do, and the table that the last one writes
released   the order of TokenCompose's released code: CLIP and the tagger one image at a time; then
           the detector one at a time, its image opened three times, saved again as JPEG, its masks
           drawn as RGBA PNG by matplotlib
limit      the forward passes of ours alone, with all inputs prepared: CLIP, tagger and detector by
           batches, the image encoder once for every image with a box, the decoder for its boxes

`of limit` is the share of the limit's rate that a variant reaches, by the clock and by the time
that the process had a processor; the latter holds on a machine that has other work, too.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from flair.data import Sentence
from released_order import mask_as_released
from segment_anything_hq import SamPredictor
from torch import Tensor

from data_schemas.configs.curate_config import CurateConfig
from data_schemas.records import GROUNDED_SCHEMA, GroundedCaption, GroundedPhrase, NounPhrase
from tokencompose_core.captions.clip import best_caption, load_clip, score_captions
from tokencompose_core.checkpoints.locate import locate, require
from tokencompose_core.masking.detect_phrases import batch_equal, prepare_image
from tokencompose_core.masking.ground_phrases import ground_phrases
from tokencompose_core.masking.grounding_dino import load_grounding_dino
from tokencompose_core.masking.precision import Precision, PrecisionCheck, compute_in
from tokencompose_core.masking.prompts import build_prompt
from tokencompose_core.masking.sam_hq import load_sam_hq
from tokencompose_core.masking.segment_boxes import prepare_for_segmenter
from tokencompose_core.nouns.tagger import find_noun_phrases, load_tagger
from tokencompose_core.pocket.floors.held_out import HeldOut, draw_held_out
from tokencompose_core.store.open_image import open_image
from tokencompose_core.store.tables import write_table

POCKET = CurateConfig.load("pocket")


@dataclass(frozen=True)
class Prepared:
    """Inputs of all forward passes that `ours` makes."""

    pixels: list[Tensor]
    texts: list[Tensor]
    sentences: list[tuple[Tensor, Tensor]]
    detected: list[tuple[Tensor, list[str]]]
    segmented: list[tuple[Tensor, Tensor]]


class Case:
    """Models, image files and captions.

    Args:
        folder: Where files are written.
        config: Names the models, and how they are used.
        scenes: What is on the images, and two captions of each.
        device: Where the models are.
        long_side: Pixels of the images' long side; 0: as they are drawn.
        most_overlap: See `mask_as_released`.
    """

    def __init__(
        self,
        folder: Path,
        config: CurateConfig,
        scenes: Sequence[HeldOut],
        *,
        device: str = "cpu",
        long_side: int = 0,
        most_overlap: float = 1.0,
    ) -> None:
        self.folder, self.config, self.most_overlap = folder, config, most_overlap
        self.precision: Precision = "float32"
        mask = config.mask
        self.clip = load_clip(require(config.rank.model), config.rank.pretrained, device=device)
        self.tagger = load_tagger(require(config.parse.model), device=device)
        self.detector = load_grounding_dino(
            require(mask.detector_config),
            require(mask.detector_checkpoint),
            str(require(mask.text_encoder)),
            device=device,
        )
        self.segmenter = load_sam_hq(
            locate(mask.segmenter_config) or mask.segmenter_config,
            require(mask.segmenter_checkpoint),
            device=device,
        )
        self.captions = [[item.sentence.text, item.wrong.text] for item in scenes]
        self.sizes, self.paths = [], []
        for number, item in enumerate(scenes):
            scale = long_side / max(item.image.size) if long_side else 1.0
            image = item.image.resize([round(scale * side) for side in item.image.size])
            self.sizes.append(image.size)
            self.paths.append(folder / f"{number}.jpg")
            image.save(self.paths[-1], quality=90)
        self.prepared = self.prepare()

    def rank(self) -> list[str]:
        """What the core of the stage `rank` chooses."""
        scored = score_captions(
            self.clip,
            lambda index: open_image(self.paths[index]),
            self.captions,
            batch_size=self.config.rank.batch_size,
        )
        return [
            best_caption(captions, one.scores)
            for captions, one in zip(self.captions, scored, strict=True)
            if one
        ]

    def parse(self, captions: Sequence[str]) -> list[list[NounPhrase]]:
        """What the core of the stage `parse` finds."""
        return find_noun_phrases(
            self.tagger,
            captions,
            noun_tags=self.config.parse.noun_tags,
            batch_size=self.config.parse.batch_size,
        )

    def ground(self, phrases: list[list[NounPhrase]]) -> dict[int, list[GroundedPhrase]]:
        """What the core of the stage `mask` finds."""
        mask = self.config.mask
        return dict(
            ground_phrases(
                self.detector,
                self.segmenter,
                lambda index: open_image(self.paths[index]),
                self.sizes,
                phrases,
                box_threshold=mask.box_threshold,
                text_threshold=mask.text_threshold,
                nms_threshold=mask.nms_threshold,
                short_side=mask.short_side,
                long_side=mask.long_side,
                batch_size=mask.batch_size,
                prompting=mask.prompting,
                boxes_at_once=mask.boxes_at_once,
                precision=PrecisionCheck(self.precision, 0.0, least_masks=0),  # compared already
            )
        )

    @torch.inference_mode()
    def prepare(self) -> Prepared:
        """Do all that is no forward pass."""
        images = [open_image(path) for path in self.paths]
        captions = self.rank()
        phrases = self.parse(captions)
        found = self.ground(phrases)
        ranked = torch.stack([self.clip.preprocess(image) for image in images])
        tokens = self.clip.tokenizer([text for own in self.captions for text in own])
        sentences = sorted(map(Sentence, captions), key=len, reverse=True)
        size, mask = self.config.parse.batch_size, self.config.mask
        pixels = [prepare_image(image, mask.short_side, mask.long_side) for image in images]
        prompts = [build_prompt([p.text for p in words])[0] for words in phrases]
        transform = SamPredictor(self.segmenter.model).transform
        segmented = []
        for index, image in enumerate(images):
            distinct = {tuple(box) for phrase in found[index] for box in phrase.boxes}
            if distinct:
                boxes = torch.tensor(sorted(distinct))
                boxes = transform.apply_boxes_torch(boxes, (image.height, image.width))
                resized = prepare_for_segmenter(self.segmenter, image)
                resized = resized[None].to(self.segmenter.device)
                segmented.append((self.segmenter.model.preprocess(resized).cpu(), boxes))
        return Prepared(
            pixels=list(ranked.split(self.config.rank.batch_size)),
            texts=list(tokens.split(self.config.rank.batch_size)),
            sentences=[
                self.tagger._prepare_tensors(sentences[start : start + size])
                for start in range(0, len(sentences), size)
            ],
            detected=[
                (torch.stack([pixels[i] for i in batch]), [prompts[i] for i in batch])
                for batch in batch_equal([p.shape for p in pixels], mask.batch_size)
            ],
            segmented=segmented,
        )


def ours(case: Case) -> int:
    """From files to the table."""
    captions = case.rank()
    found = case.ground(case.parse(captions))
    rows = [
        GroundedCaption(
            key=path.stem,
            image_path=path.name,
            image_sha256="",
            width=width,
            height=height,
            caption=caption,
            phrases=found[index],
        )
        for index, (path, (width, height), caption) in enumerate(
            zip(case.paths, case.sizes, captions, strict=True)
        )
    ]
    write_table(case.folder / "grounded.parquet", rows, GROUNDED_SCHEMA)
    return sum(len({tuple(box) for p in row.phrases for box in p.boxes}) for row in rows)


def released(case: Case) -> int:
    """From files to files, as the released code does."""
    return mask_as_released(
        case.paths,
        case.captions,
        case.folder / "seg",
        clip=case.clip,
        parse=case.parse,
        detector=case.detector,
        segmenter=case.segmenter,
        settings=case.config.mask,
        most_overlap=case.most_overlap,
    )


@torch.inference_mode()
def limit(case: Case) -> int:
    """Forward passes alone."""
    prepared, clip = case.prepared, case.clip
    for pixels in prepared.pixels:
        clip.model.encode_image(pixels.to(clip.device), normalize=True)
    for tokens in prepared.texts:
        clip.model.encode_text(tokens.to(clip.device), normalize=True)
    for sentences, lengths in prepared.sentences:
        case.tagger(sentences, lengths)
    with compute_in(case.detector.device, case.precision):
        for pixels, prompts in prepared.detected:
            case.detector.detect(pixels, prompts)
        for pixels, boxes in prepared.segmented:
            features = case.segmenter.encode(pixels.to(case.segmenter.device))
            for some in boxes.split(case.config.mask.boxes_at_once):
                case.segmenter.decode(features, some.to(case.segmenter.device))
    return sum(len(boxes) for _, boxes in prepared.segmented)


# Each returns for how many boxes it computed a mask.
VARIANTS: dict[str, Callable[[Case], int]] = {
    "ours": ours,
    "released": released,
    "limit": limit,
}


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=POCKET.mask.batch_size)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        config = CurateConfig.load("pocket", mask={"batch_size": options.batch_size})
        case = Case(Path(folder), config, draw_held_out(options.images, seed=92))
        seconds: dict[str, list[float]] = {name: [] for name in VARIANTS}
        busy: dict[str, list[float]] = {name: [] for name in VARIANTS}
        names = list(VARIANTS)
        for number in range(-1, options.rounds):  # one round to warm up
            for name in names:
                start, used = time.perf_counter(), time.process_time()
                VARIANTS[name](case)
                if number >= 0:
                    seconds[name].append(time.perf_counter() - start)
                    busy[name].append(time.process_time() - used)
            names.reverse()
    load = os.getloadavg()[0]
    print(
        f"{options.images} images, batches of {options.batch_size}, {options.rounds} rounds,"
        f" {torch.get_num_threads()} threads of {os.cpu_count()} cores, load {load:.1f}"
    )
    print(
        f"{'variant':10}{'img/s':>8}{'median':>8}{'CPU s/img':>11}  of limit:{'clock':>7}{'CPU':>6}"
    )
    for name in VARIANTS:
        clock = min(seconds["limit"]) / min(seconds[name])
        cpu = min(busy["limit"]) / min(busy[name])
        print(
            f"{name:10}{options.images / min(seconds[name]):8.2f}"
            f"{options.images / statistics.median(seconds[name]):8.2f}"
            f"{min(busy[name]) / options.images:11.3f}{clock:18.2f}{cpu:6.2f}"
        )


if __name__ == "__main__":
    main()
