"""Stage `select`: which images, with which candidate captions."""

from pathlib import Path
from typing import Any, ClassVar

from prefect import task
from prefect.client.schemas.objects import State

from data_schemas.configs.curate_config import CurateConfig, ImageLimits, SelectConfig
from data_schemas.configs.import_masks_config import ImportMasksConfig
from data_schemas.manifest import Manifest
from data_schemas.records import SELECTED_SCHEMA
from data_schemas.rejections import Rejection
from tasks.cards import close_stage
from tasks.prepare_source import Source, VsrFiles
from tasks.stage import STAGE_OPTIONS, Input, Spec, reuse_or_publish, run_stage
from tokencompose_core.selection.candidates import Candidate
from tokencompose_core.selection.partition import partition_keys
from tokencompose_core.selection.read_coco import read_coco_captions
from tokencompose_core.selection.read_source import read_source
from tokencompose_core.selection.read_vsr import read_vsr_lines
from tokencompose_core.selection.select_images import (
    images_of_split,
    name_candidates,
    select_images,
)
from tokencompose_core.store.content_store import Store
from tokencompose_core.store.rejections import write_rejections
from tokencompose_core.store.tables import write_table


class SelectSpec(Spec):
    """A caption set to select from."""

    stage: ClassVar[str] = "select"
    version: ClassVar[int] = 1
    decides_partitions: ClassVar[bool] = True

    source: Source
    settings: SelectConfig

    def parts(self) -> dict[str, Any]:
        """The content of the set, and how to select from it."""
        parts: dict[str, Any] = {
            "source": self.source.digest,
            "settings": self.settings.model_dump(),
        }
        # Named only where they differ from the defaults, which were not always a setting: whoever
        # changes those bumps the version.
        limits, usual = self.source.image_limits, ImageLimits()
        if (limits.min_side, limits.max_pixels) != (usual.min_side, usual.max_pixels):
            parts["image_limits"] = [limits.min_side, limits.max_pixels]
        return parts


@task(name="select-images", **STAGE_OPTIONS)
def select_from_source(spec: SelectSpec) -> Manifest | State:
    """Select images and cut them into partitions.

    Reads: captions in any of the shapes of `CurateConfig.source`, and headers of images.
    Writes: `part-<n>.parquet`, each a list of images with candidate captions.
    Rejects: rows that cannot be read, images without a file that can be used or without a caption
        that says something.
    """

    def write(folder: Path, store: Store) -> dict[str, Any]:
        candidates, rejections = _read_candidates(spec.source, spec.settings.split)
        limits = spec.source.image_limits
        selected, unusable = select_images(
            candidates,
            Path(spec.source.images_dir),
            min_side=limits.min_side,
            max_pixels=limits.max_pixels,
        )
        num_in = len(candidates) + len(rejections)
        rejections += unusable
        rejected = write_rejections(folder, rejections)
        keys = [image.key for image in selected]
        for number, part in enumerate(partition_keys(keys, spec.settings.partition_size)):
            write_table(
                folder / f"part-{number:05d}.parquet",
                selected[part.start : part.stop],
                SELECTED_SCHEMA,
            )
        return {"num_in": num_in, "num_out": len(selected), "rejected": rejected}

    return reuse_or_publish(spec, write, {"source": spec.source.digest})


def _read_candidates(source: Source, split: str) -> tuple[list[Candidate], list[Rejection]]:
    match source.files:
        case VsrFiles() as files:
            lines = read_vsr_lines(Path(files.vsr_path))
            names = images_of_split(lines, split, files.labels, files.relations)
            captions = read_coco_captions([Path(path) for path in files.captions_paths])
            return name_candidates(names, captions, split, files.coco_year), []
        case _:
            return read_source(source.files)


def select_partitions(source: Source, config: CurateConfig | ImportMasksConfig) -> list[Input]:
    """Select images and return the partitions, which later stages treat one by one.

    Raises:
        ValueError: If no image is left.
    """
    spec = SelectSpec(source=source, settings=config.select)
    outcomes = run_stage(select_from_source, [spec])
    close_stage(outcomes, config.caption_set, config.max_rejected_fraction)
    manifest = outcomes[0].manifest
    if manifest.num_out == 0:
        raise ValueError(
            f"caption set {config.caption_set!r}: none of its {manifest.num_in} images and rows can"
            f" be used ({manifest.rejected or 'there are none'})"
        )
    return [Input.of(manifest, name) for name in manifest.names(".parquet") if "part-" in name]
