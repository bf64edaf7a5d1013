"""From grounded shards to a Stable Diffusion that composes."""

from prefect import flow

from data_schemas.configs.finetune_config import FinetuneConfig
from tasks.announce import announce_model
from tasks.check_machine import check_machine
from tasks.check_trainings import check_trainings
from tasks.curated_sets import open_dataset
from tasks.encode_latents import encode_latents
from tasks.finetune_unet import finetune_unet
from tasks.stage import Input
from tasks.task_runner import TASK_RUNNER

POCKET = FinetuneConfig.load("pocket")


@flow(
    name="finetune",
    flow_run_name="finetune {label} ({config.profile})",
    task_runner=TASK_RUNNER,
)
def finetune(dataset: str, config: FinetuneConfig = POCKET, label: str = "grounded") -> Input:
    """Encode a data set and fine-tune a UNet on it.

    Args:
        dataset: Key of the data set, as `curate` returns it.
        config: The model and how it is trained.
        label: What the model is called on cards and in tables.

    Returns:
        Where the model lies in the store.
    """
    check_machine(config)
    check_trainings({label: config})
    encoded = encode_latents(open_dataset(dataset), config)
    model = finetune_unet(encoded, config, label)
    announce_model(model, label, config)
    return model
