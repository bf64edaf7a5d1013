"""Stage `rank`: the caption that fits an image best."""

from pathlib import Path
from typing import Any, ClassVar

from PIL import Image
from prefect import task
from prefect.client.schemas.objects import State

from data_schemas.configs.curate_config import CurateConfig, RankConfig
from data_schemas.manifest import Manifest
from data_schemas.records import RANKED_SCHEMA, RankedImage, SelectedImage
from data_schemas.rejections import Rejection
from tasks.cards import close_stage
from tasks.devices import Device, resolve_device
from tasks.earlier_rows import take_earlier_rows
from tasks.image_extractors import load_clip_model
from tasks.prepare_source import Source
from tasks.progress import Progress
from tasks.stage import STAGE_OPTIONS, Input, Spec, reuse_or_publish, run_stage
from tasks.task_runner import require_images
from tokencompose_core.checkpoints.locate import clip_identity
from tokencompose_core.store.content_store import Store
from tokencompose_core.store.earlier_rows import RowTable
from tokencompose_core.store.rejections import write_rejections
from tokencompose_core.store.tables import read_table, write_table

RANKED_NAME = "ranked.parquet"


class RankSpec(Spec):
    """A partition of images whose captions are to be ranked."""

    stage: ClassVar[str] = "rank"
    version: ClassVar[int] = 2
    row_table: ClassVar[RowTable | None] = RowTable(
        RANKED_NAME, ("image_sha256", "captions.list.element")
    )

    images_dir: str
    selected: Input
    settings: RankConfig
    device: Device

    def parts(self) -> dict[str, Any]:
        """The partition and the CLIP."""
        return {
            "selected": self.selected.digest,
            "model": clip_identity(self.settings.model, self.settings.pretrained),
        }

    @property
    def title(self) -> str:
        """Stage and partition."""
        return f"rank {Path(self.selected.name).stem}"


@task(name="rank-captions", **STAGE_OPTIONS)
def rank_partition(spec: RankSpec) -> Manifest | State:
    """Score every caption of every image with CLIP and choose the best.

    Reads: a partition of selected images.
    Writes: `ranked.parquet`, with the scores of all candidates, and `questions.parquet`.
    Rejects: images that cannot be decoded.
    """

    def write(folder: Path, store: Store) -> dict[str, Any]:
        from tokencompose_core.captions.clip import best_caption, score_captions
        from tokencompose_core.store.open_image import BadImageError, open_selected

        require_images(spec.images_dir)
        selected = read_table(spec.selected.path(store), SelectedImage)
        taken = take_earlier_rows(store, spec, RankedImage)
        ranked = {
            row.key: taken.rows[row.key].model_copy(
                update={"key": row.key, "image_path": row.image_path}
            )
            for row in selected
            if row.key in taken.rows
        }
        new = [row for row in selected if row.key not in ranked]
        bad: dict[int, BadImageError] = {}

        def load_image(index: int) -> Image.Image | None:
            try:
                row = new[index]
                return open_selected(Path(spec.images_dir) / row.image_path, row.image_sha256)
            except BadImageError as error:
                bad[index] = error
                return None

        scored = (
            score_captions(
                load_clip_model(
                    spec.settings.model, spec.settings.pretrained, resolve_device(spec.device)
                ),
                load_image,
                [row.captions for row in new],
                batch_size=spec.settings.batch_size,
            )
            if new
            else ()
        )
        with Progress(spec.title, len(new), "images") as progress:
            for row, image in zip(new, scored, strict=True):
                if image is not None:
                    ranked[row.key] = RankedImage(
                        **row.model_dump(),
                        width=image.size[0],
                        height=image.size[1],
                        caption=best_caption(row.captions, image.scores),
                        scores=image.scores,
                    )
                progress.advance(1)
        rejected = write_rejections(
            folder,
            [
                Rejection(key=new[index].key, stage="rank", reason=error.reason, detail=str(error))
                for index, error in sorted(bad.items())
            ],
        )
        in_order = [ranked[row.key] for row in selected if row.key in ranked]
        write_table(folder / RANKED_NAME, in_order, RANKED_SCHEMA)
        # An image that cannot be decoded is tried again: its file may have been read amiss.
        taken.write_questions(folder, ranked.keys())
        return {
            "num_in": len(selected),
            "num_out": len(ranked),
            "rejected": rejected,
            "facts": taken.facts,
        }

    return reuse_or_publish(spec, write, {spec.selected.key: spec.selected.digest})


def rank_specs(source: Source, selected: list[Input], config: CurateConfig) -> list[RankSpec]:
    """What the stage is given, a spec a partition."""
    return [
        RankSpec(
            images_dir=source.images_dir,
            selected=part,
            settings=config.rank,
            device=config.device,
        )
        for part in selected
    ]


def rank_captions(source: Source, selected: list[Input], config: CurateConfig) -> list[Input]:
    """Rank the captions of every partition."""
    outcomes = run_stage(rank_partition, rank_specs(source, selected, config))
    close_stage(outcomes, config.caption_set, config.max_rejected_fraction)
    return [Input.of(outcome.manifest, RANKED_NAME) for outcome in outcomes]
