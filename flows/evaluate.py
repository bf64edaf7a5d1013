"""How well models compose."""

from prefect import flow

from data_schemas.configs.evaluate_config import EvaluateConfig
from tasks.benchmarks import list_benchmarks
from tasks.detect_objects import detect_objects
from tasks.generate_images import ModelUnderTest, generate_images
from tasks.score_images import BenchmarkScore, publish_table, score_images
from tasks.stage import ONE_AT_A_TIME

POCKET = EvaluateConfig.load("pocket")


@flow(
    name="evaluate",
    flow_run_name="evaluate ({config.profile})",
    task_runner=ONE_AT_A_TIME,
)
def evaluate(models: list[ModelUnderTest], config: EvaluateConfig = POCKET) -> list[BenchmarkScore]:
    """Generate images of the same prompts with each model, detect what they show, and count.

    Args:
        models: The models, each with a label of its own; all get the same prompts and noise.
        config: Benchmarks, sampler and detectors.

    Returns:
        The scores of every model on every benchmark.
    """
    benchmarks = list_benchmarks(config)
    scores = []
    for model in models:
        for benchmark in benchmarks:
            generated = generate_images(model, benchmark, config)
            detected = detect_objects(generated, model.label, benchmark, config)
            scores.append(score_images(model, benchmark, generated, detected))
    publish_table(scores)
    return scores
