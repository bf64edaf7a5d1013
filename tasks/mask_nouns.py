"""Stage `mask`: boxes and masks of the nouns."""

from pathlib import Path
from typing import Any, ClassVar

from PIL import Image
from prefect import task
from prefect.client.schemas.objects import State

from data_schemas.configs.curate_config import CurateConfig
from data_schemas.configs.mask_config import MaskConfig
from data_schemas.manifest import Manifest
from data_schemas.records import GROUNDED_SCHEMA, GroundedCaption, ParsedCaption
from data_schemas.rejections import Rejection, RejectionReason
from tasks.cards import close_stage
from tasks.devices import Device, resolve_device
from tasks.earlier_rows import take_earlier_rows
from tasks.mask_models import load_detector, load_segmenter, model_parts
from tasks.prepare_source import Source
from tasks.progress import Progress
from tasks.stage import STAGE_OPTIONS, Input, Spec, reuse_or_publish, run_stage
from tokencompose_core.store.content_store import Store
from tokencompose_core.store.earlier_rows import RowTable
from tokencompose_core.store.rejections import write_rejections
from tokencompose_core.store.tables import read_table, write_table

GROUNDED_NAME = "grounded.parquet"
SHEET_NAME = "sheet.jpg"
SHEET_IMAGES = 9


class MaskSpec(Spec):
    """A partition of captions whose nouns are to be masked."""

    stage: ClassVar[str] = "mask"
    version: ClassVar[int] = 2
    row_table: ClassVar[RowTable | None] = RowTable(
        GROUNDED_NAME,
        (
            "image_sha256",
            "width",
            "height",
            "caption",
            "phrases.list.element.text",
            "phrases.list.element.start",
            "phrases.list.element.end",
        ),
    )
    part_fields: ClassVar[dict[str, tuple[str, ...]]] = {
        "detector": ("detector_checkpoint",),
        "segmenter": ("segmenter_checkpoint",),
        "thresholds": ("box_threshold", "text_threshold", "nms_threshold"),
        "sides": ("short_side", "long_side"),
        "precision": ("precision", "min_precision_iou"),
    }

    images_dir: str
    parsed: Input
    part: str
    settings: MaskConfig
    device: Device

    def parts(self) -> dict[str, Any]:
        """The captions, the images by their digests in them, both models and the thresholds.

        Less than float32 counts with its limit, below which there is no output.
        """
        settings = self.settings
        parts = model_parts(settings) | {
            "parsed": self.parsed.digest,
            "thresholds": [settings.box_threshold, settings.text_threshold, settings.nms_threshold],
            "sides": [settings.short_side, settings.long_side],
            "prompting": settings.prompting,
        }
        if settings.precision != "float32":
            parts["precision"] = [settings.precision, settings.min_precision_iou]
        return parts

    @property
    def title(self) -> str:
        """Stage and partition."""
        return f"mask {self.part}"


@task(name="mask-nouns", **STAGE_OPTIONS)
def mask_partition(spec: MaskSpec) -> Manifest | State:
    """Find a mask of every noun phrase with Grounding DINO and SAM-HQ.

    Reads: a partition of parsed captions, and their images.
    Writes: `grounded.parquet`, `questions.parquet` and a contact sheet.
    Rejects: phrases without a box; captions of which no phrase has one.
    """

    def write(folder: Path, store: Store) -> dict[str, Any]:
        from tokencompose_core.masking.ground_phrases import ground_phrases
        from tokencompose_core.masking.precision import PrecisionCheck
        from tokencompose_core.reports.contact_sheet import draw_mask_sheet
        from tokencompose_core.store.open_image import open_selected

        def open_row(row: ParsedCaption | GroundedCaption) -> Image.Image:
            return open_selected(Path(spec.images_dir) / row.image_path, row.image_sha256)

        settings = spec.settings
        device = resolve_device(spec.device)
        precision = PrecisionCheck(settings.precision, settings.min_precision_iou)
        parsed = read_table(spec.parsed.path(store), ParsedCaption)
        taken = take_earlier_rows(store, spec, GroundedCaption)
        found = {key: row.phrases for key, row in taken.rows.items()}
        new = [row for row in parsed if row.key not in taken]
        if new:
            with Progress(spec.title, len(new), "images") as progress:
                for index, phrases in ground_phrases(
                    load_detector(settings, device),
                    load_segmenter(settings, device),
                    lambda index: open_row(new[index]),
                    [(row.width, row.height) for row in new],
                    [row.phrases for row in new],
                    box_threshold=settings.box_threshold,
                    text_threshold=settings.text_threshold,
                    nms_threshold=settings.nms_threshold,
                    short_side=settings.short_side,
                    long_side=settings.long_side,
                    batch_size=settings.batch_size,
                    prompting=settings.prompting,
                    boxes_at_once=settings.boxes_at_once,
                    precision=precision,
                ):
                    found[new[index].key] = phrases
                    progress.advance(1)
        grounded: list[GroundedCaption] = []
        rejections: list[Rejection] = []
        for row in parsed:
            if row.key in taken.left_out:
                rejections += taken.rejections[row.key]
                continue
            caption = GroundedCaption(**row.model_dump(exclude={"phrases"}), phrases=found[row.key])
            lost = _rejections(caption)
            rejections += lost
            if all(r.reason != RejectionReason.NO_BOX for r in lost):
                grounded.append(caption)
        write_table(folder / GROUNDED_NAME, grounded, GROUNDED_SCHEMA)
        taken.write_questions(folder, {row.key for row in parsed})
        shown = grounded[:SHEET_IMAGES]
        draw_mask_sheet(
            map(open_row, shown),
            [c.caption for c in shown],
            [c.phrases for c in shown],
        ).save(folder / SHEET_NAME, quality=85)
        kept = [phrase for caption in grounded for phrase in caption.phrases]
        facts: dict[str, Any] = {
            "phrases": len(kept),
            "phrases_with_mask": sum(bool(phrase.mask_counts) for phrase in kept),
            **taken.facts,
        }
        if precision.iou is not None:
            facts["precision_iou"] = precision.iou
        return {
            "num_in": len(parsed),
            "num_out": len(grounded),
            "rejected": write_rejections(folder, rejections),
            "facts": facts,
        }

    return reuse_or_publish(spec, write, {spec.parsed.key: spec.parsed.digest})


def _rejections(caption: GroundedCaption) -> list[Rejection]:
    bare = [phrase for phrase in caption.phrases if not phrase.mask_counts]
    if len(bare) == len(caption.phrases):
        return [_rejection(caption.key, RejectionReason.NO_BOX, caption.caption)]
    return [_rejection(caption.key, RejectionReason.PHRASE_WITHOUT_BOX, p.text) for p in bare]


def _rejection(key: str, reason: RejectionReason, detail: str) -> Rejection:
    return Rejection(key=key, stage="mask", reason=reason, detail=detail)


def mask_nouns(source: Source, parsed: list[Input], config: CurateConfig) -> list[Input]:
    """Mask the nouns of every partition."""
    specs = [
        MaskSpec(
            images_dir=source.images_dir,
            parsed=part,
            part=f"part-{number:05d}",
            settings=config.mask,
            device=config.device,
        )
        for number, part in enumerate(parsed)
    ]
    outcomes = run_stage(mask_partition, specs)
    close_stage(outcomes, config.caption_set, config.max_rejected_fraction)
    return [Input.of(outcome.manifest, GROUNDED_NAME) for outcome in outcomes]
