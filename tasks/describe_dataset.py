"""Stage `dataset`: one name for all shards of a caption set."""

import json
from pathlib import Path
from typing import Any, ClassVar

from prefect import task
from prefect.client.schemas.objects import State

from data_schemas.configs.curate_config import CurateConfig
from data_schemas.configs.import_masks_config import ImportMasksConfig
from data_schemas.manifest import Manifest
from tasks.cards import close_stage
from tasks.stage import (
    STAGE_OPTIONS,
    Input,
    Spec,
    note_use,
    open_store,
    reuse_or_publish,
    run_stage,
)
from tokencompose_core.store.content_store import Store

DATASET_NAME = "dataset.json"


class DatasetSpec(Spec):
    """Shards that belong together."""

    stage: ClassVar[str] = "dataset"
    version: ClassVar[int] = 1

    shards: list[Input]

    def parts(self) -> dict[str, Any]:
        """The shards in order."""
        return {"shards": [shard.digest for shard in self.shards]}


@task(name="describe-dataset", **STAGE_OPTIONS)
def list_shards(spec: DatasetSpec) -> Manifest | State:
    """List the shards of a data set.

    Reads: the manifests of its shards.
    Writes: `dataset.json`: key, digest and number of samples of each shard.
    """

    def write(folder: Path, store: Store) -> dict[str, Any]:
        shards = []
        for shard in spec.shards:
            manifest = store.find(shard.key)
            if manifest is None:
                raise FileNotFoundError(
                    f"{shard.key} is no longer in the store; run the flow again"
                )
            shards.append(
                {"key": shard.key, "digest": shard.digest, "num_samples": manifest.num_out}
            )
        (folder / DATASET_NAME).write_text(json.dumps({"shards": shards}, indent=1), "utf-8")
        num_samples = sum(int(str(shard["num_samples"])) for shard in shards)
        return {"num_in": num_samples, "num_out": num_samples, "facts": {"shards": len(shards)}}

    return reuse_or_publish(spec, write, {shard.key: shard.digest for shard in spec.shards})


def describe_dataset(shards: list[Input], config: CurateConfig | ImportMasksConfig) -> str:
    """Name a data set; the flow `finetune` takes the name.

    Returns:
        The key of the data set in the store.
    """
    outcomes = run_stage(list_shards, [DatasetSpec(shards=shards)])
    close_stage(outcomes, config.caption_set)
    return outcomes[0].manifest.key


def read_dataset(key: str) -> list[Input]:
    """The shards of a data set.

    Raises:
        ValueError: If the store has no such data set.
    """
    store = open_store()
    note_use([key])
    manifest = store.find(key)
    if manifest is None or manifest.stage != DatasetSpec.stage:
        raise ValueError(
            f"dataset: the store {store.root} has no data set {key!r}; the flows `curate` and"
            " `import-masks` print and return the key of the one that they made"
        )
    listed = json.loads(store.path(manifest, DATASET_NAME).read_text("utf-8"))
    return [Input(key=shard["key"], digest=shard["digest"]) for shard in listed["shards"]]
