"""Stage `detect`: what OWLv2 finds in generated images."""

from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from prefect import task
from prefect.client.schemas.objects import State

from data_schemas.configs.evaluate_config import DetectorConfig, EvaluateConfig
from data_schemas.manifest import Manifest
from data_schemas.records import DETECTION_SCHEMA, DetectedBox, GeneratedImage
from tasks.benchmarks import Benchmark
from tasks.cards import close_stage
from tasks.devices import Device, resolve_device
from tasks.generate_images import IMAGES_NAME, INDEX_NAME
from tasks.progress import Progress
from tasks.stage import STAGE_OPTIONS, Input, Spec, reuse_or_publish, run_stage
from tokencompose_core.checkpoints.locate import identity, local_or_hub
from tokencompose_core.store.content_store import Store
from tokencompose_core.store.tables import read_table, write_table

DETECTIONS_NAME = "detections.parquet"


class DetectSpec(Spec):
    """Generated images in which the categories of their prompts are looked for."""

    stage: ClassVar[str] = "detect"
    version: ClassVar[int] = 1

    generated: Input
    label: str
    part: str
    settings: DetectorConfig
    device: Device

    def parts(self) -> dict[str, Any]:
        """The images, the detector and its queries; the threshold comes later."""
        return {
            "generated": self.generated.digest,
            "model": identity(self.settings.model, self.settings.revision),
            "query": self.settings.query,
        }

    @property
    def title(self) -> str:
        """Stage, model and partition."""
        return f"detect {self.label} {self.part}"


@lru_cache(maxsize=1)
def _owlv2(model: str, revision: str, device: str):
    from tokencompose_core.evaluation.detect import load_owlv2

    return load_owlv2(local_or_hub(model), revision=revision, device=device)


@task(name="detect-objects", **STAGE_OPTIONS)
def detect_partition(spec: DetectSpec) -> Manifest | State:
    """Look for the categories of every image's prompt with OWLv2.

    Reads: generated images and their index.
    Writes: `detections.parquet`, all boxes above a low floor.
    """

    def write(folder: Path, store: Store) -> dict[str, Any]:
        from tokencompose_core.evaluation.detect import detect_categories
        from tokencompose_core.evaluation.image_tar import read_images

        generated = spec.generated.path(store)
        index = read_table(generated / INDEX_NAME, GeneratedImage)
        images = read_images(generated / IMAGES_NAME)
        settings = spec.settings
        owlv2 = _owlv2(settings.model, settings.revision, resolve_device(spec.device))
        boxes: list[DetectedBox] = []
        with Progress(spec.title, len(index), "images") as progress:
            for start in range(0, len(index), settings.batch_size):
                rows = index[start : start + settings.batch_size]
                found = detect_categories(
                    owlv2,
                    [images[row.image] for row in rows],
                    [row.categories for row in rows],
                    query=settings.query,
                    batch_size=settings.batch_size,
                )
                for row, detections in zip(rows, found, strict=True):
                    boxes += [
                        DetectedBox(
                            image=row.image,
                            prompt_id=row.prompt_id,
                            round=row.round,
                            category=detection.category,
                            score=detection.score,
                            box=list(detection.box_xyxy),
                        )
                        for detection in detections
                    ]
                progress.advance(len(rows))
        write_table(folder / DETECTIONS_NAME, boxes, DETECTION_SCHEMA)
        return {"num_in": len(index), "num_out": len(index), "facts": {"boxes": len(boxes)}}

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
            settings=benchmark.detector,
            device=config.device,
        )
        for number, part in enumerate(generated)
    ]
    outcomes = run_stage(detect_partition, specs)
    close_stage(outcomes, f"{benchmark.name}-{label}")
    return [Input.of(outcome.manifest) for outcome in outcomes]
