"""Stage `import`: masks that came with the captions."""

from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal

from prefect import task
from prefect.client.schemas.objects import State

from data_schemas.configs.curate_config import JsonSource
from data_schemas.configs.import_masks_config import ImportMasksConfig
from data_schemas.manifest import Manifest
from data_schemas.records import GROUNDED_SCHEMA, GroundedCaption, SelectedImage
from data_schemas.rejections import Rejection
from tasks.cards import close_stage
from tasks.mask_nouns import GROUNDED_NAME, SHEET_IMAGES, SHEET_NAME
from tasks.opened_store import open_digests, open_store
from tasks.prepare_source import Source, prepare_own_source
from tasks.progress import Progress
from tasks.stage import STAGE_OPTIONS, Input, Spec, reuse_or_publish, run_stage
from tasks.task_runner import require_images
from tokencompose_core.importing.digest_rows import digest_rows
from tokencompose_core.importing.read_rows import (
    CAPTION_COLUMN,
    IMAGE_COLUMN,
    STAGE,
    ListedRow,
    read_listed_rows,
)
from tokencompose_core.store.content_store import Store
from tokencompose_core.store.keys import file_digest
from tokencompose_core.store.rejections import write_rejections
from tokencompose_core.store.tables import read_table, write_table


class ImportSpec(Spec):
    """A partition of images whose captions came with masks.

    Attributes:
        rows_digest: Digest of the images' rows in the metadata, and of the masks they name.
    """

    stage: ClassVar[str] = STAGE
    version: ClassVar[int] = 2

    metadata_path: str
    images_dir: str
    masks_dir: str
    selected: Input
    rows_digest: str
    black_masks: Literal["whole_image", "none"]
    part: str

    def parts(self) -> dict[str, Any]:
        """The images, their rows and masks, and what black masks mean."""
        return {
            "selected": self.selected.digest,
            "rows": self.rows_digest,
            "black_masks": self.black_masks,
        }

    @property
    def title(self) -> str:
        """Stage and partition."""
        return f"{self.stage} {self.part}"


def _rows(metadata_path: str, images_dir: str) -> dict[str, list[ListedRow | Rejection]]:
    return _rows_of(metadata_path, images_dir, file_digest(Path(metadata_path)))


@lru_cache(maxsize=1)
def _rows_of(metadata_path: str, images_dir: str, digest: str):
    """The digest sees to it that a file is read again when it has changed, and only then."""
    return read_listed_rows(Path(metadata_path), Path(images_dir))


@task(name="import-masks", **STAGE_OPTIONS)
def import_partition(spec: ImportSpec) -> Manifest | State:
    """Find listed nouns in their captions, and read their masks.

    Reads: the metadata, a partition of selected images, and the masks.
    Writes: `grounded.parquet` and a contact sheet.
    Rejects: rows whose nouns cannot be read or whose image has a row already; images that cannot be
        decoded; nouns that are not in the caption, and those without a mask that can be used;
        captions of which no noun has one.
    """

    def write(folder: Path, store: Store) -> dict[str, Any]:
        from tokencompose_core.importing.import_image import import_image
        from tokencompose_core.reports.contact_sheet import draw_mask_sheet
        from tokencompose_core.selection.candidates import roots_of
        from tokencompose_core.store.open_image import open_image

        images_dir, masks_dir = Path(spec.images_dir), Path(spec.masks_dir)
        require_images(spec.images_dir)
        mask_roots = roots_of(masks_dir)
        selected = read_table(spec.selected.path(store), SelectedImage)
        rows = _rows(spec.metadata_path, spec.images_dir)
        with open_digests() as digest:
            found = digest_rows([image.key for image in selected], rows, masks_dir, digest)
        if found != spec.rows_digest:
            raise ValueError(
                f"{spec.metadata_path} or the masks in {masks_dir} have changed since the flow"
                " began; run it again"
            )
        grounded: list[GroundedCaption] = []
        rejections: list[Rejection] = []
        met = Counter(nouns_listed_again=0, masks_of_two_nouns=0, black_masks=0)
        with Progress(spec.title, len(selected), "images") as progress:
            for image in selected:
                own = rows.get(image.key, [])
                caption, lost, counts = import_image(
                    image, own, images_dir, mask_roots, spec.black_masks
                )
                rejections += lost
                met.update(counts)
                if caption is not None:
                    grounded.append(caption)
                progress.advance(1)
        write_table(folder / GROUNDED_NAME, grounded, GROUNDED_SCHEMA)
        shown = grounded[:SHEET_IMAGES]
        draw_mask_sheet(
            (open_image(images_dir / caption.image_path) for caption in shown),
            [caption.caption for caption in shown],
            [caption.phrases for caption in shown],
        ).save(folder / SHEET_NAME, quality=85)
        kept = [phrase for caption in grounded for phrase in caption.phrases]
        return {
            "num_in": sum(len(rows[image.key]) for image in selected),
            "num_out": len(grounded),
            "rejected": write_rejections(folder, rejections),
            "facts": {
                "phrases": len(kept),
                "phrases_with_mask": sum(bool(phrase.mask_counts) for phrase in kept),
                **met,
            },
        }

    inputs = {spec.selected.key: spec.selected.digest, "rows": spec.rows_digest}
    return reuse_or_publish(spec, write, inputs)


def prepare_listed_source(config: ImportMasksConfig) -> Source:
    """Find images, captions and masks on this machine.

    Raises:
        FileNotFoundError: If the metadata, the folder of the images or that of the masks is not
            there.
        ValueError: If the metadata is not JSON, or no row has one of the fields.
    """
    images_dir = config.images_dir or str(Path(config.metadata_path).parent)
    settings = JsonSource(
        kind="json",
        paths=[config.metadata_path],
        images_dir=images_dir,
        image_column=IMAGE_COLUMN,
        caption_column=CAPTION_COLUMN,
        filters={},
        image_limits=config.image_limits,
    )
    if not Path(config.metadata_path).is_file():
        raise FileNotFoundError(f"metadata_path: {config.metadata_path} is not there")
    if not Path(config.masks_dir).is_dir():
        raise FileNotFoundError(f"masks_dir: the folder {config.masks_dir} is not there")
    _rows(config.metadata_path, images_dir)
    return prepare_own_source(settings)


def import_partitions(
    source: Source, selected: list[Input], config: ImportMasksConfig
) -> list[Input]:
    """Import the masks of every partition."""
    store = open_store()
    rows = _rows(config.metadata_path, source.images_dir)
    masks_dir, specs = Path(config.masks_dir), []
    with open_digests() as digest:
        for number, part in enumerate(selected):
            keys = [image.key for image in read_table(part.path(store), SelectedImage)]
            rows_digest = digest_rows(keys, rows, masks_dir, digest)
            specs.append(
                ImportSpec(
                    metadata_path=config.metadata_path,
                    images_dir=source.images_dir,
                    masks_dir=config.masks_dir,
                    selected=part,
                    rows_digest=rows_digest,
                    black_masks=config.black_masks,
                    part=f"part-{number:05d}",
                )
            )
    outcomes = run_stage(import_partition, specs)
    _rows_of.cache_clear()
    close_stage(outcomes, config.caption_set, config.max_rejected_fraction)
    return [Input.of(outcome.manifest, GROUNDED_NAME) for outcome in outcomes]
