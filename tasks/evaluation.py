"""What an evaluation found out."""

from pydantic import BaseModel, ConfigDict

from data_schemas.quality_results import ClipScoreResult, QualityResult
from tasks.measure_latency import ModelLatency
from tasks.measure_quality import publish_quality
from tasks.score_clip import publish_clip_scores
from tasks.score_images import BenchmarkScore, publish_table


class Evaluation(BaseModel):
    """Every figure of every model.

    Attributes:
        scores: A row a model and benchmark of prompts.
        qualities: A row a model and set of real images.
        clip_scores: A row a model and benchmark.
        latencies: A row a model.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    scores: list[BenchmarkScore] = []
    qualities: list[QualityResult] = []
    clip_scores: list[ClipScoreResult] = []
    latencies: list[ModelLatency] = []


def publish_evaluation(found: Evaluation) -> None:
    """Publish a table a kind of benchmark, as cards."""
    if found.scores:
        publish_table(found.scores)
    publish_quality(found.qualities)
    publish_clip_scores(found.clip_scores)
