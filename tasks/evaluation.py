"""What an evaluation found out."""

from pydantic import BaseModel, ConfigDict

from tasks.measure_latency import ModelLatency
from tasks.measure_quality import ModelQuality, publish_quality
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


def publish_evaluation(found: Evaluation) -> None:
    """Publish a table a kind of benchmark, as cards."""
    if found.scores:
        publish_table(found.scores)
    publish_quality(found.qualities)
    publish_clip_scores(found.clip_scores)
