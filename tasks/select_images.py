"""Stage `select`: which images, with which candidate captions."""

from pathlib import Path
from typing import Any, ClassVar

from prefect import task
from prefect.client.schemas.objects import State

from data_schemas.configs.curate_config import CurateConfig, SelectConfig
from data_schemas.manifest import Manifest
from data_schemas.records import SELECTED_SCHEMA
from tasks.cards import close_stage
from tasks.prepare_source import Source
from tasks.stage import STAGE_OPTIONS, Input, Spec, reuse_or_publish, run_stage
from tokencompose_core.selection.partition import partition_keys
from tokencompose_core.selection.read_coco import read_coco_captions
from tokencompose_core.selection.read_vsr import read_vsr_lines
from tokencompose_core.selection.select_images import images_of_split, select_images
from tokencompose_core.store.content_store import Store
from tokencompose_core.store.rejections import write_rejections
from tokencompose_core.store.tables import write_table


class SelectSpec(Spec):
    """A caption set to select from."""

    stage: ClassVar[str] = "select"
    version: ClassVar[int] = 1

    source: Source
    settings: SelectConfig

    def parts(self) -> dict[str, Any]:
        """The content of the set, and how to select from it."""
        return {"source": self.source.digest, "settings": self.settings.model_dump()}


@task(name="select-images", **STAGE_OPTIONS)
def select_from_source(spec: SelectSpec) -> Manifest | State:
    """Select images and cut them into partitions.

    Reads: VSR lines, COCO captions, images.
    Writes: `part-<n>.parquet`, each a list of images with candidate captions.
    Rejects: images without file or without a caption that says something.
    """

    def write(folder: Path, store: Store) -> dict[str, Any]:
        names = images_of_split(read_vsr_lines(Path(spec.source.vsr_path)), spec.settings.split)
        captions = read_coco_captions([Path(path) for path in spec.source.captions_paths])
        selected, rejections = select_images(
            names, captions, Path(spec.source.images_dir), spec.settings.split
        )
        rejected = write_rejections(folder, rejections)
        keys = [image.key for image in selected]
        for number, part in enumerate(partition_keys(keys, spec.settings.partition_size)):
            write_table(
                folder / f"part-{number:05d}.parquet",
                selected[part.start : part.stop],
                SELECTED_SCHEMA,
            )
        return {"num_in": len(names), "num_out": len(selected), "rejected": rejected}

    return reuse_or_publish(spec, write, {"source": spec.source.digest})


def select_partitions(source: Source, config: CurateConfig) -> list[Input]:
    """Select images and return the partitions, which later stages treat one by one."""
    spec = SelectSpec(source=source, settings=config.select)
    outcomes = run_stage(select_from_source, [spec])
    close_stage(outcomes, config.caption_set, config.max_rejected_fraction)
    manifest = outcomes[0].manifest
    return [Input.of(manifest, name) for name in manifest.names(".parquet") if "part-" in name]
