"""The whole paper: curate, fine-tune, evaluate."""

from prefect import flow

from data_schemas.configs.reproduce_config import ReproduceConfig
from flows.curate import curate
from flows.evaluate import evaluate
from flows.finetune import finetune
from tasks.check_evaluation import check_evaluation
from tasks.check_machine import check_machine
from tasks.check_trainings import check_heads, check_trainings
from tasks.compare_models import Reproduction, base_model, compare_models, denoising_alone
from tasks.draw_attention import draw_attention
from tasks.model_under_test import ModelUnderTest

POCKET = ReproduceConfig.load("pocket")


@flow(name="reproduce", flow_run_name="reproduce {config.curate.caption_set} ({config.profile})")
def reproduce(config: ReproduceConfig = POCKET) -> Reproduction:
    """Make a data set, fine-tune on it, and compare the model with the base on MultiGen.

    Returns:
        The data set, the scores of all models, and where the reports of both lie.
    """
    models = [base_model(config.finetune)]
    check_machine(config.finetune)
    check_trainings({"grounded": config.finetune})
    check_heads(config.finetune, config.evaluate)
    check_evaluation(models, config.evaluate)
    curated = curate(config.curate)
    if config.denoising_baseline:
        plain = finetune(curated.dataset, denoising_alone(config.finetune), "denoising")
        models.append(ModelUnderTest(label="denoising", stored=plain))
    grounded = finetune(curated.dataset, config.finetune, "grounded")
    models.append(ModelUnderTest(label="grounded", stored=grounded))
    found = evaluate(models, config.evaluate)
    attention = draw_attention(models, config.evaluate)
    return compare_models(curated, models, found, attention, config)
