"""Stages `clipscore` and `agreement`: how well generated images fit their prompts."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

from prefect import task
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State

from data_schemas.configs.evaluate_config import EvaluateConfig
from data_schemas.configs.quality_config import ClipScoreConfig
from data_schemas.evaluation_records import CLIP_SCORE_SCHEMA, ClipScoredImage, GeneratedImage
from data_schemas.manifest import Manifest
from data_schemas.quality_results import ClipScoreResult
from tasks.benchmarks import Benchmark
from tasks.cards import close_stage, describe_card
from tasks.clip_cells import clip_cell, clip_number
from tasks.describe_evaluation import describe_clip
from tasks.devices import Device, resolve_device
from tasks.generate_images import IMAGES_NAME, INDEX_NAME
from tasks.image_extractors import load_clip_model, weights_identity
from tasks.model_under_test import ModelUnderTest
from tasks.progress import Progress
from tasks.stage import STAGE_OPTIONS, Input, Spec, open_store, reuse_or_publish, run_stage
from tokencompose_core.store.content_store import Store
from tokencompose_core.store.tables import read_table, write_table

SCORES_NAME = "clip_scores.parquet"
AGREEMENT_NAME = "agreement.json"
_BOOTSTRAP_SEED = 0


class ClipScoreSpec(Spec):
    """A partition of generated images."""

    stage: ClassVar[str] = "clipscore"
    version: ClassVar[int] = 2

    generated: Input
    label: str
    part: str
    settings: ClipScoreConfig
    device: Device

    def parts(self) -> dict[str, Any]:
        """The images, the CLIP, and what is made of its cosines."""
        return {
            "generated": self.generated.digest,
            "model": weights_identity(self.settings),
            "prefix": self.settings.prefix,
            "scale": self.settings.scale,
            "negative_as_zero": self.settings.negative_as_zero,
        }

    @property
    def title(self) -> str:
        """Stage, model and partition."""
        return f"clipscore {self.label} {self.part}"


class AgreementSpec(Spec):
    """Scores of all images of a model."""

    stage: ClassVar[str] = "agreement"
    version: ClassVar[int] = 3

    label: str
    benchmark: str
    scored: list[Input]
    scale: float

    def parts(self) -> dict[str, Any]:
        """The scores, of which their scale is a part."""
        return {"scored": [part.digest for part in self.scored], "seed": _BOOTSTRAP_SEED}

    @property
    def title(self) -> str:
        """Stage, model and benchmark."""
        return f"agreement {self.label} {self.benchmark}"


class ModelClipScore(ClipScoreResult):
    """CLIPScore of a model, and the stored scores with one row an image."""

    scored: Input


@task(name="score-prompts", **STAGE_OPTIONS)
def score_partition(spec: ClipScoreSpec) -> Manifest | State:
    """Score every image with its prompt by CLIP.

    Reads: generated images and their index.
    Writes: `clip_scores.parquet`; blanked images have no score.
    """

    def write(folder: Path, store: Store) -> dict[str, Any]:
        from tokencompose_core.evaluation.clip_score import score_prompts
        from tokencompose_core.evaluation.image_tar import read_images

        generated, settings = spec.generated.path(store), spec.settings
        index = read_table(generated / INDEX_NAME, GeneratedImage)
        images = read_images(generated / IMAGES_NAME)
        clip = load_clip_model(settings.model, settings.pretrained, resolve_device(spec.device))
        scores = score_prompts(
            clip,
            lambda i: None if index[i].blanked else images[index[i].image],
            [row.prompt for row in index],
            prefix=settings.prefix,
            scale=settings.scale,
            negative_as_zero=settings.negative_as_zero,
            batch_size=settings.batch_size,
        )
        rows = []
        with Progress(spec.title, len(index), "images") as progress:
            for row, score in zip(index, scores, strict=True):
                rows.append(
                    ClipScoredImage(
                        image=row.image,
                        prompt_id=row.prompt_id,
                        round=row.round,
                        blanked=row.blanked,
                        score=score,
                    )
                )
                progress.advance(1)
        write_table(folder / SCORES_NAME, rows, CLIP_SCORE_SCHEMA)
        num_blanked = sum(row.blanked for row in index)
        return {
            "num_in": len(index),
            "num_out": len(index) - num_blanked,
            "facts": {"blanked": num_blanked},
        }

    return reuse_or_publish(spec, write, {spec.generated.key: spec.generated.digest})


@task(name="average-clip-scores", **STAGE_OPTIONS)
def average_scores(spec: AgreementSpec) -> Manifest | State:
    """Average the scores of a model's images, and say how sure the mean is.

    Reads: scores of all partitions.
    Writes: `agreement.json`, and `clip_scores.parquet` with a row for every image.
    """

    def write(folder: Path, store: Store) -> dict[str, Any]:
        from tokencompose_core.evaluation.clip_score import summarise_scores

        rows = [
            row for part in spec.scored for row in read_table(part.path(store), ClipScoredImage)
        ]
        scores: dict[int, list[float]] = {}
        for row in rows:
            if row.score is not None:
                scores.setdefault(row.prompt_id, []).append(row.score)
        summary = summarise_scores(scores, seed=_BOOTSTRAP_SEED)
        num_blanked = sum(row.blanked for row in rows)
        values = {**asdict(summary), "num_images": len(rows), "num_blanked": num_blanked}
        (folder / AGREEMENT_NAME).write_text(json.dumps(values, indent=1), "utf-8")
        write_table(folder / SCORES_NAME, rows, CLIP_SCORE_SCHEMA)
        facts = {
            "CLIPScore": clip_cell(summary.mean, summary.deviation, spec.scale),
            "95 % interval": _interval(summary.interval, spec.scale),
            "blanked": num_blanked,
        }
        return {"num_in": len(rows), "num_out": len(rows) - num_blanked, "facts": facts}

    return reuse_or_publish(spec, write, {part.key: part.digest for part in spec.scored})


def score_clip(
    model: ModelUnderTest, benchmark: Benchmark, generated: list[Input], config: EvaluateConfig
) -> ModelClipScore:
    """Score how well a model's images fit their prompts.

    Raises:
        ValueError: If every image was blanked.
    """
    settings, subject = config.clip_score, f"{benchmark.name}-{model.label}"
    specs = [
        ClipScoreSpec(
            generated=part,
            label=model.label,
            part=f"{benchmark.name} part-{number:05d}",
            settings=settings,
            device=config.device,
        )
        for number, part in enumerate(generated)
    ]
    outcomes = run_stage(score_partition, specs)
    close_stage(outcomes, subject)
    scored = [Input.of(outcome.manifest, SCORES_NAME) for outcome in outcomes]
    spec = AgreementSpec(
        label=model.label, benchmark=benchmark.name, scored=scored, scale=settings.scale
    )
    outcomes = run_stage(average_scores, [spec])
    close_stage(outcomes, subject, note=f"{settings.title}; {settings.convention}.")
    values = json.loads(open_store().path(outcomes[0].manifest, AGREEMENT_NAME).read_text("utf-8"))
    return ModelClipScore(
        scored=Input.of(outcomes[0].manifest, SCORES_NAME),
        label=model.label,
        benchmark=benchmark.name,
        clip=settings.title,
        weights=weights_identity(settings),
        convention=settings.convention,
        scale=settings.scale,
        **values,
    )


def publish_clip_scores(
    results: Sequence[ClipScoreResult], benchmarks: Sequence[Benchmark], sampled: str
) -> None:
    """Publish the CLIPScore of all models as a card, if there are any; as `publish_table`."""
    if results:
        create_table_artifact(
            key="clip-score",
            table=[
                {
                    "model": result.label,
                    "prompts": result.benchmark,
                    "CLIPScore": clip_cell(result.mean, result.deviation, result.scale),
                    "95 % interval": _interval(result.interval, result.scale),
                    "images": result.num_images,
                    "blanked": result.num_blanked,
                    "CLIP": f"{result.clip}: {result.convention}",
                }
                for result in results
            ],
            description=describe_card(
                "Agreement of image and prompt (deviation over images; interval over prompts)",
                describe_clip(benchmarks, results[0]),
                sampled,
            ),
        )


def _interval(interval: tuple[float, float] | None, scale: float) -> str:
    if interval is None:
        return "none of one prompt"
    return " to ".join(clip_number(end, scale) for end in interval)
