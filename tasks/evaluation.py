"""What an evaluation found out."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from data_schemas.configs.evaluate_config import SamplerConfig
from tasks.benchmarks import Benchmark
from tasks.describe_evaluation import describe_sampling
from tasks.measure_latency import ModelLatency
from tasks.measure_quality import ModelQuality, publish_quality
from tasks.model_under_test import ModelUnderTest
from tasks.score_clip import ModelClipScore, publish_clip_scores
from tasks.score_images import BenchmarkScore, publish_table
from tasks.stage import Input


class Evaluation(BaseModel):
    """Every figure of every model.

    Attributes:
        scores: A row a model and benchmark of prompts.
        qualities: A row a model and set of real images.
        clip_scores: A row a model and benchmark.
        latencies: A row a model.
        warnings: Why some of it may say less than it seems to.
        report: The stored page with all of it, and what it is made of.
        report_path: Where the page lies.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    scores: list[BenchmarkScore] = []
    qualities: list[ModelQuality] = []
    clip_scores: list[ModelClipScore] = []
    latencies: list[ModelLatency] = []
    warnings: list[str] = []
    report: Input | None = None
    report_path: str = ""

    def outputs(self) -> list[Input]:
        """The stored images and figures behind it."""
        return [
            *(stored for own in self.scores for stored in (*own.generated, own.scored)),
            *(stored for own in self.qualities for stored in (*own.generated, own.measured)),
            *(own.scored for own in self.clip_scores),
            *(own.measured for own in self.latencies),
        ]


def publish_evaluation(
    found: Evaluation,
    models: Sequence[ModelUnderTest],
    benchmarks: Sequence[Benchmark],
    sampler: SamplerConfig,
) -> None:
    """Publish a table a kind of benchmark, as cards that say where figures come from."""
    sampled = describe_sampling(models, sampler)
    publish_table(found.scores, benchmarks, sampled)
    publish_quality(found.qualities, benchmarks, sampled)
    publish_clip_scores(found.clip_scores, benchmarks, sampled)
