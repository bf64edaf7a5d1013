"""Look whether the store holds what its manifests say."""

from prefect import flow
from prefect.client.schemas.objects import State

from data_schemas.configs.operate_config import VerifyConfig
from tasks.verify_store import Health, publish_health, verify_store

DEFAULTS = VerifyConfig()


@flow(name="verify", flow_run_name="verify, digests: {config.deep}")
def verify(config: VerifyConfig = DEFAULTS) -> Health | State:
    """Compare every output with its manifest, by sizes, or by digests if `deep`.

    Returns:
        What was found by stage; the run fails if an output is broken.
    """
    return publish_health(verify_store(config))
