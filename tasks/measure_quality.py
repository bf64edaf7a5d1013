"""Stages `features` and `quality`: how far generated images are from real ones."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

from prefect import task
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State

from data_schemas.configs.evaluate_config import EvaluateConfig
from data_schemas.configs.quality_config import QualityConfig
from data_schemas.evaluation_records import GeneratedImage
from data_schemas.manifest import Manifest
from data_schemas.quality_results import QualityResult
from tasks.benchmarks import Benchmark
from tasks.cards import close_stage
from tasks.devices import Device
from tasks.generate_images import IMAGES_NAME, INDEX_NAME
from tasks.image_extractors import describe_resizing, load_extractor, weights_identity
from tasks.model_under_test import ModelUnderTest
from tasks.progress import Progress
from tasks.reference_features import FEATURES_NAME
from tasks.stage import STAGE_OPTIONS, Input, Spec, open_store, reuse_or_publish, run_stage
from tokencompose_core.store.content_store import Store
from tokencompose_core.store.tables import read_table

QUALITY_NAME = "quality.json"


class FeaturesSpec(Spec):
    """A partition of generated images."""

    stage: ClassVar[str] = "features"
    version: ClassVar[int] = 2

    generated: Input
    label: str
    part: str
    settings: QualityConfig
    device: Device

    def parts(self) -> dict[str, Any]:
        """The images, and what looks at them."""
        return {
            "generated": self.generated.digest,
            "extractor": [self.settings.extractor.kind, weights_identity(self.settings.extractor)],
            "resolution": self.settings.resolution,
        }

    @property
    def title(self) -> str:
        """Stage, model and partition."""
        return f"features {self.label} {self.part}"


class QualitySpec(Spec):
    """Features of a model's images, and of real ones."""

    stage: ClassVar[str] = "quality"
    version: ClassVar[int] = 1

    label: str
    benchmark: str
    features: list[Input]
    reference: list[Input]
    settings: QualityConfig

    def parts(self) -> dict[str, Any]:
        """The features, and the subsets of KID."""
        return {
            "features": [part.digest for part in self.features],
            "reference": [part.digest for part in self.reference],
            "num_kid_subsets": self.settings.num_kid_subsets,
            "kid_subset_size": self.settings.kid_subset_size,
        }

    @property
    def title(self) -> str:
        """Stage, model and reference set."""
        return f"quality {self.label} {self.benchmark}"


class ModelQuality(QualityResult):
    """FID and KID of a model, its images, partition by partition, and the stored figures."""

    generated: list[Input]
    measured: Input


@task(name="extract-features", **STAGE_OPTIONS)
def extract_partition(spec: FeaturesSpec) -> Manifest | State:
    """Compute features of generated images.

    Reads: generated images and their index.
    Writes: `features.parquet`; blanked images have none.
    """

    def write(folder: Path, store: Store) -> dict[str, Any]:
        from tokencompose_core.evaluation.feature_table import write_features
        from tokencompose_core.evaluation.image_features import extract_features
        from tokencompose_core.evaluation.image_tar import read_images

        generated = spec.generated.path(store)
        index = read_table(generated / INDEX_NAME, GeneratedImage)
        images = read_images(generated / IMAGES_NAME)
        extractor = load_extractor(spec.settings, spec.device)
        features = []
        with Progress(spec.title, len(index), "images") as progress:
            for row in extract_features(
                extractor,
                lambda i: None if index[i].blanked else images[index[i].image],
                len(index),
                resolution=spec.settings.resolution,
                batch_size=spec.settings.batch_size,
            ):
                features.append(row)
                progress.advance(1)
        write_features(
            folder / FEATURES_NAME, [row.image for row in index], features, extractor.dimension
        )
        num_blanked = sum(row.blanked for row in index)
        return {
            "num_in": len(index),
            "num_out": len(index) - num_blanked,
            "facts": {"blanked": num_blanked},
        }

    inputs = {spec.generated.key: spec.generated.digest, "extractor": spec.parts()["extractor"][1]}
    return reuse_or_publish(spec, write, inputs)


@task(name="measure-quality", **STAGE_OPTIONS)
def compare_with_reference(spec: QualitySpec) -> Manifest | State:
    """Compute FID and KID.

    Reads: features of all generated and all real images.
    Writes: `quality.json`.
    """

    def write(folder: Path, store: Store) -> dict[str, Any]:
        from tokencompose_core.evaluation.feature_table import read_features
        from tokencompose_core.evaluation.image_quality import KID_SEED, compare_features

        own = read_features([part.path(store) for part in spec.features])
        reference = read_features([part.path(store) for part in spec.reference])
        settings = spec.settings
        quality = compare_features(
            own.features,
            reference.features,
            num_kid_subsets=settings.num_kid_subsets,
            kid_subset_size=settings.kid_subset_size,
            allow_few_images=settings.allow_few_images,
        )
        num_compared, dimension = own.features.shape
        values = {
            **asdict(quality),
            "num_images": num_compared + own.num_missing,
            "num_blanked": own.num_missing,
            "num_reference": len(reference.features),
            "dimension": dimension,
            "kid_seed": KID_SEED,
        }
        (folder / QUALITY_NAME).write_text(json.dumps(values, indent=1), "utf-8")
        title = settings.extractor.title
        facts = {
            f"FID ({title})": quality.fid,
            f"KID ({title})": f"{quality.kid:.4g} ({quality.kid_deviation:.2g})",
            "real images": len(reference.features),
            "blanked": own.num_missing,
        }
        return {"num_in": values["num_images"], "num_out": num_compared, "facts": facts}

    inputs = {part.key: part.digest for part in [*spec.features, *spec.reference]}
    return reuse_or_publish(spec, write, inputs)


def measure_quality(
    model: ModelUnderTest, benchmark: Benchmark, generated: list[Input], config: EvaluateConfig
) -> ModelQuality:
    """Compare a model's images of captions with the images that the captions describe.

    Raises:
        ValueError: If too many images were blanked for FID or for a subset of KID.
    """
    reference = benchmark.reference
    assert reference is not None  # benchmarks of this kind have one
    settings, subject = reference.settings, f"{benchmark.name}-{model.label}"
    specs = [
        FeaturesSpec(
            generated=part,
            label=model.label,
            part=f"{benchmark.name} part-{number:05d}",
            settings=settings,
            device=config.device,
        )
        for number, part in enumerate(generated)
    ]
    outcomes = run_stage(extract_partition, specs)
    close_stage(outcomes, subject)
    spec = QualitySpec(
        label=model.label,
        benchmark=benchmark.name,
        features=[Input.of(outcome.manifest, FEATURES_NAME) for outcome in outcomes],
        reference=reference.features,
        settings=settings,
    )
    outcomes = run_stage(compare_with_reference, [spec])
    resizing = describe_resizing(settings)
    close_stage(outcomes, subject, note=f"{settings.extractor.title}; {resizing}.")
    values = json.loads(open_store().path(outcomes[0].manifest, QUALITY_NAME).read_text("utf-8"))
    return ModelQuality(
        generated=generated,
        measured=Input.of(outcomes[0].manifest, QUALITY_NAME),
        label=model.label,
        benchmark=benchmark.name,
        extractor=settings.extractor.title,
        weights=weights_identity(settings.extractor),
        resizing=resizing,
        num_kid_subsets=settings.num_kid_subsets,
        kid_subset_size=settings.kid_subset_size,
        **values,
    )


def publish_quality(results: Sequence[QualityResult]) -> None:
    """Publish FID and KID of all models as a card, if there are any."""
    if results:
        create_table_artifact(
            key="quality",
            table=[
                {
                    "model": result.label,
                    "real images": f"{result.benchmark} ({result.num_reference})",
                    "features": result.extractor,
                    "FID": f"{result.fid:.2f}",
                    "KID": f"{result.kid:.4g} ({result.kid_deviation:.2g})",
                    "images": result.num_images,
                    "blanked": result.num_blanked,
                }
                for result in results
            ],
            description="Distance from real images, by the features of a network (KID: deviation"
            " over subsets)",
        )
