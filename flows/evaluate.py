"""How well models compose."""

from prefect import flow

from data_schemas.configs.evaluate_config import EvaluateConfig
from tasks.detect_objects import detect_objects
from tasks.generate_images import ModelUnderTest, generate_images, list_prompts
from tasks.score_multigen import ModelScore, publish_table, score_images
from tasks.stage import ONE_AT_A_TIME

POCKET = EvaluateConfig.load("pocket")


@flow(
    name="evaluate",
    flow_run_name="evaluate ({config.profile})",
    task_runner=ONE_AT_A_TIME,
)
def evaluate(models: list[ModelUnderTest], config: EvaluateConfig = POCKET) -> list[ModelScore]:
    """Generate images of MultiGen's prompts, detect what they show, and count.

    Args:
        models: The models, each with a label of its own; all get the same prompts and noise.
        config: Prompts, sampler and detector.

    Returns:
        MG2 to MG5 of every model, in their order.
    """
    prompts = list_prompts(config)
    scores = []
    for model in models:
        generated = generate_images(model, prompts, config)
        detected = detect_objects(generated, model.label, config)
        scores.append(score_images(model.label, prompts, generated, detected, config))
    publish_table(scores)
    return scores
