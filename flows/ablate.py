"""Which part of the method does what: variants with the same data, steps, seeds and noise."""

from prefect import flow

from data_schemas.configs.ablate_config import AblateConfig
from flows.curate import curate
from flows.evaluate import evaluate
from flows.finetune import finetune
from tasks.check_evaluation import check_evaluation
from tasks.check_machine import check_machine
from tasks.check_trainings import check_trainings
from tasks.compare_models import base_model
from tasks.compare_variants import Ablation, check_prompts, compare_variants, list_trainings
from tasks.model_under_test import ModelUnderTest

POCKET = AblateConfig.load("pocket")


@flow(name="ablate", flow_run_name="ablate {config.curate.caption_set} ({config.profile})")
def ablate(config: AblateConfig = POCKET) -> Ablation:
    """Fine-tune every variant with every seed, evaluate all, and set them side by side.

    Every training and every part of an evaluation is stored by itself, so a run may be stopped and
    taken up at any time, and seeds or variants may be added later at no more than their own cost.

    Returns:
        The tables, and where the page with its charts lies.
    """
    models = [base_model(config.finetune)]
    check_machine(config.finetune)
    trainings = list_trainings(config)
    check_trainings({training.label: training.config for training in trainings})
    check_evaluation(models, config.evaluate_config)
    check_prompts(config)
    curated = curate(config.curate)
    for training in trainings:
        stored = finetune(curated.dataset, training.config, training.label)
        models.append(ModelUnderTest(label=training.label, stored=stored))
    scores = evaluate(models, config.evaluate_config).scores
    return compare_variants(models, scores, config)
