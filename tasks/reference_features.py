"""Stage `reference`: features of the real images that a model's are compared with."""

from pathlib import Path
from typing import Any, ClassVar

from PIL import Image
from prefect import task
from prefect.client.schemas.objects import State
from pydantic import BaseModel, ConfigDict

from data_schemas.configs.evaluate_config import EvaluateConfig
from data_schemas.configs.quality_config import QualityConfig
from data_schemas.evaluation_records import CaptionPair
from data_schemas.manifest import Manifest
from data_schemas.rejections import Rejection
from tasks.cards import close_stage
from tasks.devices import Device
from tasks.draw_pairs import draw_partitions
from tasks.image_extractors import load_extractor, weights_identity
from tasks.prepare_source import prepare_source
from tasks.progress import Progress
from tasks.select_images import select_partitions
from tasks.stage import STAGE_OPTIONS, Input, Spec, open_store, reuse_or_publish, run_stage
from tasks.task_runner import require_images
from tokencompose_core.evaluation.prompts import Prompt
from tokencompose_core.store.content_store import Store
from tokencompose_core.store.rejections import write_rejections
from tokencompose_core.store.tables import read_table

FEATURES_NAME = "features.parquet"


class QualityReference(BaseModel):
    """Real images that a model's are compared with.

    Attributes:
        settings: What the config says of them.
        features: Features of the images, in partitions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    settings: QualityConfig
    features: list[Input]


class ReferenceSpec(Spec):
    """A partition of real images."""

    stage: ClassVar[str] = "reference"
    version: ClassVar[int] = 2

    images_dir: str
    pairs: Input
    settings: QualityConfig
    device: Device

    def parts(self) -> dict[str, Any]:
        """The images, and what looks at them."""
        return {
            "pairs": self.pairs.digest,
            "extractor": [self.settings.extractor.kind, weights_identity(self.settings.extractor)],
            "resolution": self.settings.resolution,
        }

    @property
    def title(self) -> str:
        """Stage, set and partition."""
        return f"reference {self.settings.caption_set} {Path(self.pairs.name).stem}"


@task(name="extract-reference", **STAGE_OPTIONS)
def extract_reference(spec: ReferenceSpec) -> Manifest | State:
    """Compute features of real images.

    Reads: pairs, and their images.
    Writes: `features.parquet`.
    Rejects: images that cannot be decoded.
    """

    def write(folder: Path, store: Store) -> dict[str, Any]:
        from tokencompose_core.evaluation.feature_table import write_features
        from tokencompose_core.evaluation.image_features import extract_features
        from tokencompose_core.store.open_image import BadImageError, open_selected

        require_images(spec.images_dir)
        pairs = read_table(spec.pairs.path(store), CaptionPair)
        extractor = load_extractor(spec.settings, spec.device)
        bad: dict[int, BadImageError] = {}

        def load_image(index: int) -> Image.Image | None:
            try:
                pair = pairs[index]
                return open_selected(Path(spec.images_dir) / pair.image_path, pair.image_sha256)
            except BadImageError as error:
                bad[index] = error
                return None

        features = []
        with Progress(spec.title, len(pairs), "images") as progress:
            for row in extract_features(
                extractor,
                load_image,
                len(pairs),
                resolution=spec.settings.resolution,
                batch_size=spec.settings.batch_size,
            ):
                features.append(row)
                progress.advance(1)
        write_features(
            folder / FEATURES_NAME, [pair.key for pair in pairs], features, extractor.dimension
        )
        rejected = write_rejections(
            folder,
            [
                Rejection(
                    key=pairs[index].key, stage=spec.stage, reason=error.reason, detail=str(error)
                )
                for index, error in sorted(bad.items())
            ],
        )
        num_out = len(pairs) - len(bad)
        return {"num_in": len(pairs), "num_out": num_out, "rejected": rejected}

    inputs = {spec.pairs.key: spec.pairs.digest, "extractor": spec.parts()["extractor"][1]}
    return reuse_or_publish(spec, write, inputs)


def prepare_reference(name: str, config: EvaluateConfig) -> tuple[QualityReference, list[Prompt]]:
    """Draw real images, compute their features, and make prompts of their captions.

    All of it comes before any image is generated, so that what is wrong with the set is said then.

    Args:
        name: Of the set in the config.
        config: With the set.

    Raises:
        ValueError: If the set has fewer images than are asked for, or fewer are left than FID or a
            subset of KID needs.
    """
    settings, field = config.quality[name], f"evaluate.quality.{name}"
    source = prepare_source(settings)
    selected = select_partitions(source, settings)
    parts = draw_partitions(selected, settings, field, config.partition_size)
    specs = [
        ReferenceSpec(
            images_dir=source.images_dir, pairs=part, settings=settings, device=config.device
        )
        for part in parts
    ]
    outcomes = run_stage(extract_reference, specs)
    close_stage(outcomes, settings.caption_set, settings.max_rejected_fraction)
    features = [Input.of(outcome.manifest, FEATURES_NAME) for outcome in outcomes]
    check_reference(features, settings, field)
    store = open_store()
    pairs = [pair for part in parts for pair in read_table(part.path(store), CaptionPair)]
    prompts = [Prompt(pair.prompt_id, pair.caption, ()) for pair in pairs]
    return QualityReference(settings=settings, features=features), prompts


def check_reference(features: list[Input], settings: QualityConfig, field: str) -> None:
    """Refuse fewer real images than the figures need, once those that cannot be read are left out.

    Args:
        features: Features of the real images, in partitions.
        settings: Of the set.
        field: Where the settings stand in the config.

    Raises:
        ValueError: If there are too few for FID, or for a subset of KID, naming the field.
    """
    from tokencompose_core.evaluation.feature_table import read_features
    from tokencompose_core.evaluation.image_quality import check_num_images, check_subset_size

    store = open_store()
    rows = read_features([part.path(store) for part in features]).features
    try:
        check_num_images(*rows.shape, allow_few_images=settings.allow_few_images)
        check_subset_size(len(rows), settings.kid_subset_size)
    except ValueError as error:
        raise ValueError(f"{field}: {error}") from error
