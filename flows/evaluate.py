"""How well models compose, how real their images look, and how well they fit their prompts."""

from prefect import flow
from prefect.runtime import flow_run

from data_schemas.configs.evaluate_config import EvaluateConfig
from tasks.benchmarks import list_benchmarks
from tasks.check_evaluation import check_evaluation
from tasks.detect_objects import detect_objects
from tasks.evaluation import Evaluation, publish_evaluation
from tasks.generate_images import generate_images
from tasks.measure_latency import measure_latency
from tasks.measure_quality import measure_quality
from tasks.model_under_test import ModelUnderTest
from tasks.report_evaluation import report_evaluation
from tasks.score_clip import score_clip
from tasks.score_images import score_images
from tasks.task_runner import TASK_RUNNER

POCKET = EvaluateConfig.load("pocket")


def _run_name() -> str:
    """Which models; a parameter may be JSON still."""
    parameters = flow_run.parameters
    models = [ModelUnderTest.model_validate(model).label for model in parameters["models"]]
    config = EvaluateConfig.model_validate(parameters.get("config", POCKET))
    return f"evaluate {', '.join(models)} ({config.profile})"


@flow(
    name="evaluate",
    flow_run_name=_run_name,
    task_runner=TASK_RUNNER,
)
def evaluate(models: list[ModelUnderTest], config: EvaluateConfig = POCKET) -> Evaluation:
    """Generate images of the same prompts with each model, look at them, and count.

    Args:
        models: The models, each with a label of its own; all get the same prompts and noise.
        config: Benchmarks, sampler, and what looks at the images.

    Returns:
        The figures of every model on every benchmark, and where the page with them lies.
    """
    scores, qualities, clip_scores = [], [], []
    check_evaluation(models, config)
    benchmarks = list_benchmarks(config)
    for model in models:
        for benchmark in benchmarks:
            generated = generate_images(model, benchmark, config)
            if benchmark.kind == "quality":
                qualities.append(measure_quality(model, benchmark, generated, config))
            else:
                detected = detect_objects(generated, model.label, benchmark, config)
                scores.append(score_images(model, benchmark, generated, detected))
            if "clip_score" in config.benchmarks:
                clip_scores.append(score_clip(model, benchmark, generated, config))
    found = Evaluation(
        scores=scores,
        qualities=qualities,
        clip_scores=clip_scores,
        latencies=measure_latency(models, config) if "latency" in config.benchmarks else [],
    )
    publish_evaluation(found, models, benchmarks, config.sampler)
    return report_evaluation(models, benchmarks, found, config)
