"""Stage `detect`: what a detector finds in generated images."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar, cast

from prefect import task
from prefect.client.schemas.objects import State

from data_schemas.configs.evaluate_config import DetectorConfig, EvaluateConfig
from data_schemas.evaluation_records import GeneratedImage
from data_schemas.manifest import Manifest
from tasks.benchmarks import Benchmark
from tasks.cards import close_stage
from tasks.devices import Device, resolve_device
from tasks.generate_images import IMAGES_NAME, INDEX_NAME
from tasks.kept_models import keep_last
from tasks.progress import Progress
from tasks.stage import STAGE_OPTIONS, Input, Spec, reuse_or_publish, run_stage
from tokencompose_core.checkpoints.check_weights import check_weights
from tokencompose_core.checkpoints.hub_access import naming_field, require_in_reach
from tokencompose_core.checkpoints.locate import identity, local_or_hub
from tokencompose_core.store.content_store import Store
from tokencompose_core.store.tables import read_table

DETECTIONS_NAME = "detections.parquet"


class DetectSpec(Spec):
    """Generated images in which the categories of their prompts are looked for."""

    stage: ClassVar[str] = "detect"
    version: ClassVar[int] = 2

    generated: Input
    label: str
    part: str
    vocabulary: list[str]
    settings: DetectorConfig
    device: Device

    def parts(self) -> dict[str, Any]:
        """The images, the detector, its queries and precision; the threshold comes later."""
        return {
            "generated": self.generated.digest,
            "architecture": self.settings.architecture,
            "model": identity(self.settings.model, self.settings.revision),
            "query": self.settings.query,
            "vocabulary": self.vocabulary,
            "precision": self.settings.precision,
        }

    @property
    def title(self) -> str:
        """Stage, model and partition."""
        return f"detect {self.label} {self.part}"


def check_detectors(benchmarks: Sequence[Benchmark], device: Device) -> None:
    """Look whether the detectors can be loaded and used, before images are generated.

    Raises:
        FileNotFoundError: If a model is neither on this machine nor on the hub, or its folder lacks
            weights.
        ValueError: If a model is of another architecture, the query of a category is longer than it
            reads, or the device does not compute in the precision asked for.
    """
    from tokencompose_core.evaluation.query_lengths import check_queries
    from tokencompose_core.masking.precision import check_precision
    from tokencompose_core.masking.transformers_checkpoint import check_model_type

    for benchmark in benchmarks:
        settings, field = benchmark.detector, f"detector of {benchmark.name}"
        if settings is None:
            continue
        require_in_reach(field, settings.model, "config.json", settings.revision)
        try:
            name = local_or_hub(settings.model)
            check_model_type(name, settings.architecture, revision=settings.revision)
        except OSError as error:
            raise FileNotFoundError(
                f"{field}: model is {settings.model!r}, which is neither a folder with a model of"
                f" transformers nor one that the hub gives: {error}"
            ) from error
        except ValueError as error:
            raise ValueError(f"{field}: architecture is wrong: {error}") from error
        with naming_field(field, settings.model):
            check_weights(name, "transformers", revision=settings.revision)
        try:
            check_queries(name, settings.query, benchmark.vocabulary, revision=settings.revision)
        except ValueError as error:
            raise ValueError(f"{field}: query: {error}") from error
        check_precision(resolve_device(device), settings.precision, f"{field}: precision")


@keep_last
def _load_detector(architecture: str, model: str, revision: str, content: str, device: str):
    """The detector; its content sees to it that one which has changed is loaded again."""
    from tokencompose_core.evaluation.detectors import Architecture, load_detector

    kind = cast(Architecture, architecture)
    return load_detector(kind, local_or_hub(model), revision=revision, device=device)


@task(name="detect-objects", **STAGE_OPTIONS)
def detect_partition(spec: DetectSpec) -> Manifest | State:
    """Look for the categories of every image's prompt, and for their rivals.

    Reads: generated images and their index.
    Writes: `detections.parquet`, all boxes above a low floor.
    """

    def write(folder: Path, store: Store) -> dict[str, Any]:
        from tokencompose_core.evaluation.detect import detect_categories
        from tokencompose_core.evaluation.detection_table import write_detections
        from tokencompose_core.evaluation.image_tar import iterate_images

        generated = spec.generated.path(store)
        # Images that were blanked are looked at like all others, and rarely show a box: it is the
        # score that knows them by the index, and counts them apart.
        index = read_table(generated / INDEX_NAME, GeneratedImage)
        settings = spec.settings
        found = detect_categories(
            _load_detector(
                settings.architecture,
                settings.model,
                settings.revision,
                identity(settings.model, settings.revision),
                resolve_device(spec.device),
            ),
            # They were written in the order of the index.
            (image for _, image in iterate_images(generated / IMAGES_NAME)),
            [row.categories for row in index],
            vocabulary=spec.vocabulary,
            query=settings.query,
            batch_size=settings.batch_size,
            precision=settings.precision,
        )
        with closing(found), Progress(spec.title, len(index), "images") as progress:
            num_boxes = write_detections(folder / DETECTIONS_NAME, index, found, progress.advance)
        return {"num_in": len(index), "num_out": len(index), "facts": {"boxes": num_boxes}}

    return reuse_or_publish(spec, write, {spec.generated.key: spec.generated.digest})


def detect_objects(
    generated: list[Input], label: str, benchmark: Benchmark, config: EvaluateConfig
) -> list[Input]:
    """Detect in every partition of a model's images."""
    assert benchmark.detector is not None  # of those whose prompts have categories
    specs = [
        DetectSpec(
            generated=part,
            label=label,
            part=f"{benchmark.name} part-{number:05d}",
            vocabulary=benchmark.vocabulary,
            settings=benchmark.detector,
            device=config.device,
        )
        for number, part in enumerate(generated)
    ]
    outcomes = run_stage(detect_partition, specs)
    close_stage(outcomes, f"{benchmark.name}-{label}")
    return [Input.of(outcome.manifest) for outcome in outcomes]
