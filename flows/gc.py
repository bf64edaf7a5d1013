"""Remove from the store what nothing refers to; a dry run first."""

from prefect import flow

from data_schemas.configs.operate_config import GcConfig
from tasks.collect_garbage import Garbage, collect_garbage, publish_garbage

DEFAULTS = GcConfig()


@flow(name="gc", flow_run_name="gc older than {config.older_than_days} days")
def gc(config: GcConfig = DEFAULTS) -> Garbage:
    """Remove outputs that were not used for long, and what killed runs left; list them first.

    Returns:
        What was found by stage; it is removed if `delete` says so.
    """
    return publish_garbage(collect_garbage(config))
