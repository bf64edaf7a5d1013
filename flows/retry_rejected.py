"""Try again what was left out of a caption set."""

from prefect import flow

from data_schemas.configs.curate_config import CurateConfig
from flows.curate import ground
from tasks.check_curation import check_curation
from tasks.retry_rejected import (
    RetriedSet,
    find_left_out,
    forget_ranked,
    forget_selection,
    prepare_again,
    publish_retries,
)
from tasks.select_images import select_partitions
from tasks.task_runner import TASK_RUNNER

POCKET = CurateConfig.load("pocket")


@flow(
    name="retry-rejected",
    flow_run_name="retry-rejected {config.caption_set} ({config.profile})",
    task_runner=TASK_RUNNER,
)
def retry_rejected(config: CurateConfig = POCKET) -> RetriedSet:
    """Run `curate` again, and look again at images that were left out though their files are good.

    Returns:
        The data set, and what became of everything that was left out, by reason.
    """
    check_curation(config)
    found = find_left_out(config)
    source = prepare_again(config, found)
    forget_selection(source, config, found)
    selected = select_partitions(source, config)
    forget_ranked(source, selected, config, found)
    curated = ground(source, selected, config)
    return publish_retries(found, source, selected, curated, config)
