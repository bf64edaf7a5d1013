"""Two models on the same prompts and noise, and how they differ."""

from prefect import flow

from data_schemas.configs.evaluate_config import EvaluateConfig
from flows.evaluate import evaluate
from tasks.evaluation import Evaluation
from tasks.model_under_test import ModelUnderTest

POCKET = EvaluateConfig.load("pocket")


@flow(name="compare", flow_run_name="compare {a.label} with {b.label} ({config.profile})")
def compare(a: ModelUnderTest, b: ModelUnderTest, config: EvaluateConfig = POCKET) -> Evaluation:
    """Evaluate two models, as far as the store does not know them yet, and set them side by side.

    Args:
        a: The model that the other is held to.
        b: The other model.
        config: Benchmarks, sampler, and what looks at the images.

    Returns:
        The figures of both, and where the page with their differences lies.
    """
    return evaluate([a, b], config)
