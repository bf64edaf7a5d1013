"""Where an output comes from, and what was made from it."""

from prefect import flow

from data_schemas.configs.operate_config import LineageConfig
from tasks.trace_lineage import Ancestry, publish_lineage, trace_lineage


@flow(name="lineage", flow_run_name="lineage of {config.key}")
def lineage(config: LineageConfig) -> Ancestry:
    """Follow an output back to its captions, models and settings, and on to what uses it.

    Returns:
        Outputs, with equal partitions in one node, and what each was made from and into.
    """
    return publish_lineage(trace_lineage(config))
