"""Stage `score`: MG2 to MG5 of a model."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

from prefect import task
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State
from pydantic import BaseModel, ConfigDict

from data_schemas.manifest import Manifest
from data_schemas.records import DetectedBox, GeneratedImage
from tasks.benchmarks import Benchmark
from tasks.cards import close_stage
from tasks.detect_objects import DETECTIONS_NAME
from tasks.generate_images import INDEX_NAME
from tasks.model_under_test import ModelUnderTest
from tasks.stage import STAGE_OPTIONS, Input, Spec, open_store, reuse_or_publish, run_stage
from tokencompose_core.evaluation.prompts import Prompt
from tokencompose_core.evaluation.score import score_multigen
from tokencompose_core.store.content_store import Store
from tokencompose_core.store.tables import read_table

SCORE_NAME = "score.json"


class ScoreSpec(Spec):
    """Detections of all images of a model."""

    stage: ClassVar[str] = "score"
    version: ClassVar[int] = 1

    label: str
    prompts: list[Prompt]
    num_rounds: int
    generated: list[Input]
    detected: list[Input]
    threshold: float

    def parts(self) -> dict[str, Any]:
        """Images, detections, and the score above which a category counts."""
        return {
            "prompts": [[p.prompt_id, list(p.categories)] for p in self.prompts],
            "num_rounds": self.num_rounds,
            "generated": [part.digest for part in self.generated],
            "detected": [part.digest for part in self.detected],
            "threshold": self.threshold,
        }

    @property
    def title(self) -> str:
        """Stage and model."""
        return f"score {self.label}"


class ModelScore(BaseModel):
    """A row of the MultiGen table: percentages by k, and the images behind them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    benchmark: str
    mean: dict[int, float]
    deviation: dict[int, float]
    success: dict[str, float]
    num_images: int
    generated: list[Input]


@task(name="score-multigen", **STAGE_OPTIONS)
def score_model(spec: ScoreSpec) -> Manifest | State:
    """Count in how many images at least k categories were found.

    Reads: indices and detections of all partitions.
    Writes: `score.json`.
    """

    def write(folder: Path, store: Store) -> dict[str, Any]:
        best: dict[tuple[int, int], dict[str, float]] = {}
        for part in spec.generated:
            for row in read_table(part.path(store) / INDEX_NAME, GeneratedImage):
                best[row.prompt_id, row.round] = {}
        for part in spec.detected:
            for box in read_table(part.path(store) / DETECTIONS_NAME, DetectedBox):
                scores = best[box.prompt_id, box.round]
                scores[box.category] = max(box.score, scores.get(box.category, 0.0))
        score = score_multigen(spec.prompts, spec.num_rounds, best, threshold=spec.threshold)
        (folder / SCORE_NAME).write_text(json.dumps(asdict(score), indent=1), "utf-8")
        facts = {
            f"MG{k}": f"{score.mean[k]:.1f} ({score.deviation[k]:.1f})" for k in sorted(score.mean)
        }
        return {"num_in": len(best), "num_out": len(best), "facts": facts}

    return reuse_or_publish(spec, write, {part.key: part.digest for part in spec.detected})


def score_images(
    model: ModelUnderTest, benchmark: Benchmark, generated: list[Input], detected: list[Input]
) -> ModelScore:
    """Score a model."""
    assert benchmark.detector is not None  # of those whose prompts have categories
    spec = ScoreSpec(
        label=model.label,
        prompts=benchmark.prompts,
        num_rounds=benchmark.num_rounds,
        generated=generated,
        detected=detected,
        threshold=benchmark.detector.threshold,
    )
    outcomes = run_stage(score_model, [spec])
    close_stage(outcomes, f"{benchmark.name}-{model.label}")
    manifest = outcomes[0].manifest
    values = json.loads(open_store().path(manifest, SCORE_NAME).read_text("utf-8"))
    return ModelScore(label=model.label, benchmark=benchmark.name, generated=generated, **values)


def publish_table(scores: list[ModelScore]) -> None:
    """Publish the MultiGen table of all models as a card."""
    create_table_artifact(
        key="multigen",
        table=[
            {"model": score.label, "prompts": score.benchmark}
            | {f"MG{k}": f"{score.mean[k]:.1f} ({score.deviation[k]:.1f})" for k in score.mean}
            | {"images": score.num_images}
            for score in scores
        ],
        description="Images with at least k of their categories, % (deviation over rounds)",
    )
