"""Stage `shard`: grounded samples as WebDataset tars."""

from pathlib import Path
from typing import Any, ClassVar

from prefect import task
from prefect.client.schemas.objects import State

from data_schemas.configs.curate_config import CurateConfig
from data_schemas.configs.import_masks_config import ImportMasksConfig
from data_schemas.manifest import Manifest
from data_schemas.records import GroundedCaption
from tasks.cards import close_stage
from tasks.prepare_source import Source
from tasks.stage import STAGE_OPTIONS, Input, Spec, reuse_or_publish, run_stage
from tokencompose_core.store.content_store import Store
from tokencompose_core.store.tables import read_table

SHARD_NAME = "shard.tar"
INDEX_NAME = "index.parquet"


class ShardSpec(Spec):
    """A partition of grounded captions to pack."""

    stage: ClassVar[str] = "shard"
    version: ClassVar[int] = 2

    images_dir: str
    grounded: Input
    part: str

    def parts(self) -> dict[str, Any]:
        """The samples, with the digests of their images in them."""
        return {"grounded": self.grounded.digest}

    @property
    def title(self) -> str:
        """Stage and partition."""
        return f"shard {self.part}"


@task(name="write-shards", **STAGE_OPTIONS)
def shard_partition(spec: ShardSpec) -> Manifest | State:
    """Pack images, captions and masks.

    Reads: a partition of grounded captions, and their images.
    Writes: `shard.tar` in WebDataset's layout and `index.parquet`, see `data_schemas/SHARDS.md`.
    """

    def write(folder: Path, store: Store) -> dict[str, Any]:
        from tokencompose_core.shards.write_shard import write_shard

        samples = read_table(spec.grounded.path(store), GroundedCaption)
        write_shard(folder, samples, Path(spec.images_dir))
        return {
            "num_in": len(samples),
            "num_out": len(samples),
            "facts": {"num_bytes": (folder / SHARD_NAME).stat().st_size},
        }

    return reuse_or_publish(spec, write, {spec.grounded.key: spec.grounded.digest})


def write_shards(
    source: Source, grounded: list[Input], config: CurateConfig | ImportMasksConfig
) -> list[Input]:
    """Pack every partition."""
    specs = [
        ShardSpec(images_dir=source.images_dir, grounded=part, part=f"part-{number:05d}")
        for number, part in enumerate(grounded)
    ]
    outcomes = run_stage(shard_partition, specs)
    close_stage(outcomes, config.caption_set, config.max_rejected_fraction)
    return [Input.of(outcome.manifest) for outcome in outcomes]
