"""Where captions and images come from."""

from pathlib import Path
from typing import Any, ClassVar

from prefect import task
from prefect.client.schemas.objects import State
from pydantic import BaseModel, ConfigDict

from data_schemas.configs.curate_config import CurateConfig, PocketSource, VsrCocoSource
from data_schemas.manifest import Manifest
from tasks.stage import STAGE_OPTIONS, Spec, open_store, reuse_or_publish, run_stage
from tokencompose_core.pocket.world import WorldPaths, write_world
from tokencompose_core.selection.digest_source import digest_source
from tokencompose_core.store.content_store import Store


class Source(BaseModel):
    """Files of a caption set on this machine, and the digest that stands for them in keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    vsr_path: str
    captions_paths: list[str]
    images_dir: str
    digest: str


class WorldSpec(Spec):
    """A pocket world to draw."""

    stage: ClassVar[str] = "world"
    version: ClassVar[int] = 1

    settings: PocketSource

    def parts(self) -> dict[str, Any]:
        """Its seed and sizes."""
        return self.settings.model_dump()


@task(name="draw-world", **STAGE_OPTIONS)
def draw_world(spec: WorldSpec) -> Manifest | State:
    """Draw a pocket world.

    Writes: images, COCO annotations and VSR lines.
    """

    def write(folder: Path, store: Store) -> dict[str, Any]:
        facts = write_world(
            folder,
            seed=spec.settings.seed,
            num_images=spec.settings.num_images,
            num_damaged=spec.settings.num_damaged,
        )
        return {"num_out": facts["images"], "facts": facts}

    return reuse_or_publish(spec, write)


def prepare_source(config: CurateConfig) -> Source:
    """Find the caption set of a config on this machine, drawing it first if it is a pocket world.

    Raises:
        FileNotFoundError: If a file of the set is not there.
    """
    match config.source:
        case PocketSource():
            manifest = run_stage(draw_world, [WorldSpec(settings=config.source)])[0].manifest
            folder = open_store().path(manifest)
            vsr_path = folder / WorldPaths.vsr
            captions = [folder / WorldPaths.annotations / f"captions_{config.select.split}.json"]
            images_dir = folder
        case VsrCocoSource():
            vsr_path = Path(config.source.vsr_path)
            captions = [Path(path) for path in config.source.captions_paths]
            images_dir = Path(config.source.images_dir)
    return Source(
        vsr_path=str(vsr_path),
        captions_paths=[str(path) for path in captions],
        images_dir=str(images_dir),
        digest=digest_source(vsr_path, captions, images_dir, config.select.split),
    )
