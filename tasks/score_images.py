"""Stage `score`: how well a model does on a benchmark."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from prefect import task
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State
from pydantic import BaseModel, ConfigDict, Field

from data_schemas.evaluation_records import SCORED_SCHEMA
from data_schemas.manifest import Manifest
from data_schemas.results import MultiGenResult, VisorResult
from tasks.benchmarks import Benchmark
from tasks.cards import close_stage, describe_card
from tasks.describe_evaluation import describe_benchmark
from tasks.model_under_test import ModelUnderTest
from tasks.result_cells import result_cells, show_deviation
from tasks.seen_images import read_seen_images
from tasks.stage import STAGE_OPTIONS, Input, Spec, open_store, reuse_or_publish, run_stage
from tokencompose_core.evaluation.judge_images import judge_images
from tokencompose_core.evaluation.prompts import Prompt
from tokencompose_core.evaluation.score import score_multigen
from tokencompose_core.evaluation.visor import score_visor
from tokencompose_core.store.content_store import Store
from tokencompose_core.store.tables import write_table

SCORE_NAME = "score.json"
IMAGES_TABLE_NAME = "images.parquet"


class ScoreSpec(Spec):
    """Detections of all images of a model."""

    stage: ClassVar[str] = "score"
    version: ClassVar[int] = 3

    label: str
    benchmark: str
    kind: Literal["multigen", "visor"]
    prompts: list[Prompt]
    num_rounds: int
    generated: list[Input]
    detected: list[Input]
    threshold: float

    def parts(self) -> dict[str, Any]:
        """Images, detections, how they are counted, and the score above which a category counts."""
        return {
            "kind": self.kind,
            "prompts": [
                [p.prompt_id, p.text, list(p.categories), p.relation] for p in self.prompts
            ],
            "num_rounds": self.num_rounds,
            "generated": [part.digest for part in self.generated],
            "detected": [part.digest for part in self.detected],
            "threshold": self.threshold,
        }

    @property
    def title(self) -> str:
        """Stage, model and benchmark."""
        return f"score {self.label} {self.benchmark}"


class BenchmarkScore(BaseModel):
    """What a benchmark says of a model, and the images behind it.

    Attributes:
        label: The model.
        benchmark: Name of the benchmark.
        result: Shares of images with intervals.
        is_mixed: Whether its prompts differ in how many categories they have.
        generated: The images, partition by partition.
        scored: The stored score, with `images.parquet`: one row an image, by which models can be
            compared pair by pair.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    benchmark: str
    result: Annotated[MultiGenResult | VisorResult, Field(discriminator="kind")]
    is_mixed: bool
    generated: list[Input]
    scored: Input


@task(name="score-images", **STAGE_OPTIONS)
def score_model(spec: ScoreSpec) -> Manifest | State:
    """Judge every image by what was found in it, and count.

    Reads: indices and detections of all partitions.
    Writes: `score.json`, and `images.parquet` with one row an image.
    """

    def write(folder: Path, store: Store) -> dict[str, Any]:
        seen = read_seen_images(store, spec.generated, spec.detected, spec.threshold)
        images = judge_images(spec.prompts, spec.num_rounds, seen, threshold=spec.threshold)
        result: MultiGenResult | VisorResult
        match spec.kind:
            case "multigen":
                result = score_multigen(spec.prompts, spec.num_rounds, images)
            case "visor":
                result = score_visor(spec.prompts, spec.num_rounds, images)
        write_table(folder / IMAGES_TABLE_NAME, images, SCORED_SCHEMA)
        (folder / SCORE_NAME).write_text(result.model_dump_json(indent=1), "utf-8")
        facts = {**result_cells(result, intervals=True), "blanked": result.num_blanked}
        return {"num_in": len(images), "num_out": len(images), "facts": facts}

    inputs = {part.key: part.digest for part in [*spec.generated, *spec.detected]}
    return reuse_or_publish(spec, write, inputs)


def score_images(
    model: ModelUnderTest, benchmark: Benchmark, generated: list[Input], detected: list[Input]
) -> BenchmarkScore:
    """Score a model on a benchmark that looks for categories."""
    assert benchmark.kind != "quality"
    assert benchmark.detector is not None
    spec = ScoreSpec(
        label=model.label,
        benchmark=benchmark.name,
        kind=benchmark.kind,
        prompts=benchmark.prompts,
        num_rounds=benchmark.num_rounds,
        generated=generated,
        detected=detected,
        threshold=benchmark.detector.threshold,
    )
    outcomes = run_stage(score_model, [spec])
    close_stage(outcomes, f"{benchmark.name}-{model.label}")
    manifest = outcomes[0].manifest
    content = open_store().path(manifest, SCORE_NAME).read_text("utf-8")
    result: MultiGenResult | VisorResult
    match benchmark.kind:
        case "multigen":
            result = MultiGenResult.model_validate_json(content)
        case "visor":
            result = VisorResult.model_validate_json(content)
    return BenchmarkScore(
        label=model.label,
        benchmark=benchmark.name,
        result=result,
        is_mixed=len({len(prompt.categories) for prompt in benchmark.prompts}) > 1,
        generated=generated,
        scored=Input.of(manifest),
    )


_DESCRIPTIONS = {
    "multigen": "Images with at least k of their categories, %{deviation} [95 % interval over"
    " prompts]",
    "visor": "Images with both categories (OA) and with their relation, of all and of those with"
    " both; prompts with at least n such images, % [95 % interval over prompts]",
}


def publish_table(
    scores: Sequence[BenchmarkScore], benchmarks: Sequence[Benchmark], sampled: str
) -> None:
    """Publish a table of all models as a card for each kind of benchmark.

    Args:
        scores: Of all models and benchmarks.
        benchmarks: What they were asked; the foot of a table names its own.
        sampled: How images were generated, and by which models.
    """
    for kind in dict.fromkeys(score.result.kind for score in scores):
        has_deviation = show_deviation(s.result for s in scores if s.result.kind == kind)
        create_table_artifact(
            key=kind,
            table=[
                {"model": score.label, "prompts": score.benchmark}
                | result_cells(score.result, intervals=True)
                | {"images": score.result.num_images, "blanked": score.result.num_blanked}
                for score in scores
                if score.result.kind == kind
            ],
            description=describe_card(
                _DESCRIPTIONS[kind].format(
                    deviation=" (deviation over rounds)" if has_deviation else ""
                ),
                *(f"{b.name}: {describe_benchmark(b)}" for b in benchmarks if b.kind == kind),
                sampled,
            ),
        )
