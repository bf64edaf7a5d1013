"""Where captions and images come from."""

import time
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from prefect import task
from prefect.client.schemas.objects import State
from pydantic import BaseModel, ConfigDict

from data_schemas.configs.curate_config import (
    CocoCaptionsSource,
    CsvSource,
    CurateConfig,
    ImageFolderSource,
    ImageLimits,
    JsonSource,
    OwnSource,
    ParquetSource,
    PocketSource,
    VsrCocoSource,
    WebdatasetSource,
)
from data_schemas.configs.quality_config import QualityConfig
from data_schemas.manifest import Manifest
from tasks.opened_store import open_digests, open_store
from tasks.progress import STOP, Progress
from tasks.stage import STAGE_OPTIONS, Spec, reuse_or_publish, run_stage
from tokencompose_core.pocket.world import WorldPaths, write_world
from tokencompose_core.selection.digest_source import digest_candidates, digest_source
from tokencompose_core.selection.fetch_images import FetchLimits, fetch_images
from tokencompose_core.selection.joined_rows import JoinedRows
from tokencompose_core.selection.read_image_folder import METADATA_NAME
from tokencompose_core.selection.read_source import read_source
from tokencompose_core.store.content_store import Store
from tokencompose_core.store.scratch import scratch_dir

# Rows are selected from at once. A run that finds none reads them again.
_MOST_SECONDS_WAITING = 24 * 3600.0


class VsrFiles(BaseModel):
    """Where VSR lines and COCO captions lie."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    vsr_path: str
    captions_paths: list[str]
    coco_year: int = 2017
    labels: tuple[int, ...] = (0, 1)
    relations: tuple[str, ...] = ()


class Source(BaseModel):
    """A caption set on this machine, and the digest that stands for it in keys.

    Attributes:
        files: What is to be read.
        images_dir: The image root.
        image_limits: Which images are taken.
        digest: Of everything that the selection reads.
        made_from: The stored output in which it lies, if it does: its key and digest.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    files: VsrFiles | OwnSource
    images_dir: str
    image_limits: ImageLimits
    digest: str
    made_from: dict[str, str] = {}


class WorldSpec(Spec):
    """A pocket world to draw."""

    stage: ClassVar[str] = "world"
    version: ClassVar[int] = 1
    decides_partitions: ClassVar[bool] = True

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


def check_source(settings: PocketSource | VsrCocoSource | OwnSource, field: str) -> None:
    """Look for the files of a caption set, long before they are read.

    Args:
        settings: The set.
        field: Where it stands in the config.

    Raises:
        FileNotFoundError: If a file, or the folder of the images, is not there.
    """
    needed: list[str] = []
    match settings:
        case PocketSource():
            pass
        case VsrCocoSource():
            needed = [settings.vsr_path, *settings.captions_paths, settings.images_dir]
        case CocoCaptionsSource():
            needed = [*settings.captions_paths, settings.images_dir]
        case ImageFolderSource():
            needed = [str(Path(settings.images_dir) / METADATA_NAME)]
        # Images of tars, of Parquet and behind URLs are copied to a folder that is made.
        case JsonSource() | CsvSource() | ParquetSource() | WebdatasetSource():
            needed = settings.paths
        case _:  # of a kind that looks for its files itself
            needed = [settings.images_dir]
    for name in needed:
        if not Path(name).exists():
            raise FileNotFoundError(f"{field} needs {name}, which is not there")


def prepare_source(config: CurateConfig | QualityConfig) -> Source:
    """Find the caption set of a config on this machine.

    A pocket world is drawn first; images in tars and behind URLs are copied to the image root.

    Raises:
        FileNotFoundError: If a file of the set is not there.
        ValueError: If a file as a whole is not what its kind says, or filters leave no row.
    """
    match config.source:
        case PocketSource():
            manifest = run_stage(draw_world, [WorldSpec(settings=config.source)])[0].manifest
            folder = open_store().path(manifest)
            captions = folder / WorldPaths.annotations / f"captions_{config.select.split}.json"
            files = VsrFiles(vsr_path=str(folder / WorldPaths.vsr), captions_paths=[str(captions)])
            drawn = {manifest.key: manifest.digest}
            return _vsr_source(files, str(folder), config.select.split, drawn)
        case VsrCocoSource() as settings:
            files = VsrFiles(**settings.model_dump(exclude={"kind", "images_dir"}))
            return _vsr_source(files, settings.images_dir, config.select.split, {})
        case _:
            return prepare_own_source(config.source)


def _vsr_source(files: VsrFiles, images_dir: str, split: str, made_from: dict[str, str]) -> Source:
    STOP.clear()  # of a flow that was interrupted before, in the same process
    captions = [Path(path) for path in files.captions_paths]
    with open_digests() as digest, Progress("digest", None, "images") as progress:
        whole = digest_source(
            Path(files.vsr_path),
            captions,
            Path(images_dir),
            split,
            labels=files.labels,
            relations=files.relations,
            coco_year=files.coco_year,
            digest=digest,
            on_image=progress.advance,
        )
    return Source(
        files=files,
        images_dir=images_dir,
        image_limits=ImageLimits(),
        digest=whole,
        made_from=made_from,
    )


def prepare_own_source(settings: OwnSource) -> Source:
    """Read a set of a user's own, and copy images in tars and behind URLs to the image root.

    Its rows wait, joined, at `joined_path` for the selection.

    Raises:
        FileNotFoundError: If a file of the set is not there.
        ValueError: If a file as a whole is not what its kind says, or filters leave no row.
    """
    STOP.clear()  # of a flow that was interrupted before, in the same process
    images_dir, limits = Path(settings.images_dir), settings.image_limits
    rows_dir = open_store().work_dir("rows")
    _remove_forgotten(rows_dir)
    with open_digests() as digest, scratch_dir(rows_dir) as folder:
        path = folder / "rows.sqlite"
        with join_source(settings, path) as rows:
            fetch_limits = FetchLimits(
                url_schemes=limits.url_schemes,
                max_bytes=limits.max_bytes,
                timeout_seconds=limits.timeout_seconds,
                num_retries=limits.num_retries,
                private_hosts=limits.private_hosts,
            )
            with Progress("fetch", rows.num_urls, "images") as progress:
                fetch_images(rows.urls(), images_dir, fetch_limits, progress.advance)
            with Progress("digest", rows.num_images, "images") as progress:
                whole = digest_candidates(
                    rows.candidates(), rows.rejections(), images_dir, digest, progress.advance
                )
        path.touch()  # it waits from now on
        path.replace(joined_path(whole))
    return Source(files=settings, images_dir=settings.images_dir, image_limits=limits, digest=whole)


def _remove_forgotten(rows_dir: Path) -> None:
    """Remove rows that wait for a run which was killed."""
    for path in rows_dir.glob("*.sqlite"):
        with suppress(FileNotFoundError):  # its selection has ended
            if time.time() - path.stat().st_mtime > _MOST_SECONDS_WAITING:
                path.unlink()


def join_source(settings: OwnSource, path: Path) -> JoinedRows:
    """Read a set of a user's own and join its rows in a file."""
    with Progress("read", None, "rows") as progress:
        return read_source(settings, path, progress.advance)


def joined_path(digest: str) -> Path:
    """Where the rows of a source wait, once they were read, for the selection; it removes them.

    Args:
        digest: The source's digest.
    """
    return open_store().work_dir("rows") / f"{digest}.sqlite"
