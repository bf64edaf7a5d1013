"""A caption set is there: check it, note it, and start what waits for it."""

from prefect import flow

from data_schemas.configs.curate_config import CurateConfig
from tasks.prepare_source import prepare_source
from tasks.register_captions import RegisteredSet
from tasks.register_captions import register_captions as register
from tasks.select_images import select_partitions
from tasks.task_runner import TASK_RUNNER

POCKET = CurateConfig.load("pocket")


@flow(
    name="register-captions",
    flow_run_name="register {config.caption_set} ({config.profile})",
    task_runner=TASK_RUNNER,
)
def register_captions(config: CurateConfig = POCKET) -> RegisteredSet:
    """Read and select from a caption set, and announce it if the store does not know it yet.

    Args:
        config: What `curate` would be given; it gets it, if the set is new.

    Returns:
        The registration, and what is new about the set.
    """
    source = prepare_source(config)
    return register(select_partitions(source, config), config)
