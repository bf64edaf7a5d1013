"""Make data sets of caption sets that were registered before."""

from prefect import flow

from data_schemas.configs.backfill_config import BackfillConfig
from tasks.start_backfill import StartedRun, start_backfill

EVERY_SET = BackfillConfig.model_validate({})


@flow(name="backfill", flow_run_name="backfill {config.caption_sets} ({config.profile})")
def backfill(config: BackfillConfig = EVERY_SET) -> list[StartedRun]:
    """Start `curate` for registered sets, with the settings they were registered with.

    Args:
        config: Which sets, and what is different this time.

    Returns:
        The runs that were started; they wait for a worker like any others.
    """
    return start_backfill(config)
