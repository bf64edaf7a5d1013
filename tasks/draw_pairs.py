"""Stage `pairs`: which real images a model's are compared with, and captions of them as prompts."""

from pathlib import Path
from typing import Any, ClassVar

from prefect import task
from prefect.client.schemas.objects import State

from data_schemas.configs.quality_config import QualityConfig
from data_schemas.evaluation_records import PAIR_SCHEMA
from data_schemas.manifest import Manifest
from data_schemas.records import SelectedImage
from tasks.cards import close_stage
from tasks.stage import STAGE_OPTIONS, Input, Spec, reuse_or_publish, run_stage
from tokencompose_core.evaluation.caption_pairs import draw_pairs
from tokencompose_core.store.content_store import Store
from tokencompose_core.store.tables import read_table, write_table


class PairsSpec(Spec):
    """A selected caption set to draw from."""

    stage: ClassVar[str] = "pairs"
    version: ClassVar[int] = 1

    field: str
    selected: list[Input]
    num_pairs: int
    seed: int
    partition_size: int

    def parts(self) -> dict[str, Any]:
        """The images with their captions, and the draw."""
        return {
            "selected": [part.digest for part in self.selected],
            "num_pairs": self.num_pairs,
            "seed": self.seed,
            "partition_size": self.partition_size,
        }


@task(name="draw-pairs", **STAGE_OPTIONS)
def draw_from_partitions(spec: PairsSpec) -> Manifest | State:
    """Draw images and one caption of each.

    Reads: partitions of selected images.
    Writes: `part-<n>.parquet`, as many pairs in each as prompts in a partition.
    """

    def write(folder: Path, store: Store) -> dict[str, Any]:
        images = [
            row for part in spec.selected for row in read_table(part.path(store), SelectedImage)
        ]
        try:
            pairs = draw_pairs(images, spec.num_pairs, seed=spec.seed)
        except ValueError as error:
            raise ValueError(f"{spec.field}.num_pairs: {error}") from error
        for number, start in enumerate(range(0, len(pairs), spec.partition_size)):
            part = pairs[start : start + spec.partition_size]
            write_table(folder / f"part-{number:05d}.parquet", part, PAIR_SCHEMA)
        return {"num_in": len(images), "num_out": len(pairs)}

    return reuse_or_publish(spec, write, {part.key: part.digest for part in spec.selected})


def draw_partitions(
    selected: list[Input], settings: QualityConfig, field: str, partition_size: int
) -> list[Input]:
    """Draw pairs, and return them in partitions.

    Args:
        selected: Partitions of the selection.
        settings: How many to draw.
        field: Where the settings stand in the config.
        partition_size: Pairs a partition.

    Raises:
        ValueError: If the set has fewer images than are asked for, naming the field.
    """
    spec = PairsSpec(
        field=field,
        selected=selected,
        num_pairs=settings.num_pairs,
        seed=settings.seed,
        partition_size=partition_size,
    )
    outcomes = run_stage(draw_from_partitions, [spec])
    close_stage(outcomes, settings.caption_set)
    manifest = outcomes[0].manifest
    return [Input.of(manifest, name) for name in manifest.names(".parquet")]
