"""Stage `select`: which images, with which candidate captions."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, ClassVar

from prefect import task
from prefect.client.schemas.objects import State

from data_schemas.configs.curate_config import CurateConfig, ImageLimits, SelectConfig
from data_schemas.configs.import_masks_config import ImportMasksConfig
from data_schemas.configs.quality_config import QualityConfig
from data_schemas.manifest import Manifest
from data_schemas.records import SELECTED_SCHEMA, SelectedImage
from data_schemas.rejections import Rejection
from tasks.cards import close_stage
from tasks.opened_store import open_digests
from tasks.prepare_source import Source, VsrFiles, join_source, joined_path
from tasks.progress import Progress
from tasks.stage import STAGE_OPTIONS, Input, Spec, reuse_or_publish, run_stage
from tasks.task_runner import require_images
from tokencompose_core.selection.candidates import Candidate
from tokencompose_core.selection.digest_source import digest_candidates
from tokencompose_core.selection.joined_rows import JoinedRows
from tokencompose_core.selection.partition import cut_partitions
from tokencompose_core.selection.read_coco import read_coco_captions
from tokencompose_core.selection.read_vsr import read_vsr_lines
from tokencompose_core.selection.select_images import (
    images_of_split,
    name_candidates,
    reject_taken_keys,
    select_images,
)
from tokencompose_core.store.content_store import Store
from tokencompose_core.store.rejections import RejectionWriter
from tokencompose_core.store.scratch import scratch_dir
from tokencompose_core.store.tables import write_table


class SelectSpec(Spec):
    """A caption set to select from."""

    stage: ClassVar[str] = "select"
    version: ClassVar[int] = 2
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
        names = ("min_side", "max_pixels", "max_ratio")
        own = [getattr(limits, name) for name in names]
        if own != [getattr(usual, name) for name in names]:
            parts["image_limits"] = own
        files = self.source.files
        if (
            isinstance(files, VsrFiles)
            and files.coco_year != VsrFiles.model_fields["coco_year"].default
        ):
            parts["coco_year"] = files.coco_year
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
        require_images(spec.source.images_dir)
        limits = spec.source.image_limits
        num_out = 0
        with (
            open_digests() as digest,
            RejectionWriter(folder) as rejected,
            _open_candidates(spec.source, spec.settings.split) as (candidates, lost, num_images),
            Progress("select", num_images, "images") as progress,
        ):
            for rejection in lost:
                rejected.write(rejection)

            def keep() -> Iterator[SelectedImage]:
                for image in select_images(
                    candidates,
                    Path(spec.source.images_dir),
                    min_side=limits.min_side,
                    max_pixels=limits.max_pixels,
                    max_ratio=limits.max_ratio,
                    digest=digest,
                ):
                    progress.advance(1)
                    if isinstance(image, SelectedImage):
                        yield image
                    else:
                        rejected.write(image)

            parts = cut_partitions(keep(), spec.settings.partition_size, lambda image: image.key)
            for number, part in enumerate(parts):
                write_table(folder / f"part-{number:05d}.parquet", part, SELECTED_SCHEMA)
                num_out += len(part)
        return {
            "num_in": num_out + rejected.counts.total(),
            "num_out": num_out,
            "rejected": dict(sorted(rejected.counts.items())),
        }

    inputs = {"source": spec.source.digest, **spec.source.made_from}
    return reuse_or_publish(spec, write, inputs)


@contextmanager
def _open_candidates(
    source: Source, split: str
) -> Iterator[tuple[Iterable[Candidate | Rejection], Iterable[Rejection], int]]:
    """Images, rows that are left out, and how many images there are."""
    match source.files:
        case VsrFiles() as files:
            lines = read_vsr_lines(Path(files.vsr_path))
            names = images_of_split(lines, split, files.labels, files.relations)
            captions, rejected = read_coco_captions([Path(path) for path in files.captions_paths])
            candidates = name_candidates(names, captions, split, files.coco_year)
            yield reject_taken_keys(candidates), rejected, len(names)
        case settings:
            path = joined_path(source.digest)
            with ExitStack() as stack:
                try:
                    rows = stack.enter_context(JoinedRows(path))
                except FileNotFoundError:  # another run has removed it, or made it elsewhere
                    folder = stack.enter_context(scratch_dir(path.parent))
                    rows = stack.enter_context(join_source(settings, folder / path.name))
                    _check_unchanged(rows, source)
                yield rows.candidates(), rows.rejections(), rows.num_images


def _check_unchanged(rows: JoinedRows, source: Source) -> None:
    with open_digests() as digest:
        found = digest_candidates(
            rows.candidates(), rows.rejections(), Path(source.images_dir), digest
        )
    if found != source.digest:
        raise ValueError(
            "the captions or images of the set have changed since the flow began; run it again"
        )


def select_partitions(
    source: Source, config: CurateConfig | ImportMasksConfig | QualityConfig
) -> list[Input]:
    """Select images and return the partitions, which later stages treat one by one.

    Raises:
        ValueError: If there is no image, or none is left.
    """
    spec = SelectSpec(source=source, settings=config.select)
    try:
        outcomes = run_stage(select_from_source, [spec])
    finally:
        joined_path(source.digest).unlink(missing_ok=True)
    close_stage(outcomes, config.caption_set, config.max_rejected_fraction)
    manifest = outcomes[0].manifest
    if manifest.num_out == 0:
        raise ValueError(f"caption set {config.caption_set!r}: there are no images and rows in it")
    return [
        Input(key=manifest.key, digest=file.sha256, name=file.name)
        for file in manifest.files
        if file.name.startswith("part-")
    ]
