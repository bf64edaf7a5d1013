"""From captions with masks that somebody else made to grounded shards."""

from prefect import flow

from data_schemas.configs.import_masks_config import ImportMasksConfig
from tasks.describe_dataset import describe_dataset
from tasks.draw_dataset_card import CuratedSet, draw_dataset_card
from tasks.import_masks import import_partitions, prepare_listed_source
from tasks.publish_changes import publish_changes
from tasks.select_images import select_partitions
from tasks.task_runner import TASK_RUNNER
from tasks.write_shards import write_shards


@flow(
    name="import-masks",
    flow_run_name="import-masks {config.caption_set}",
    task_runner=TASK_RUNNER,
)
def import_masks(config: ImportMasksConfig) -> CuratedSet:
    """Read images, nouns and masks as TokenCompose released them, and write shards.

    Returns:
        The key of the data set in the store, which `finetune` takes, and where its report lies.
    """
    source = prepare_listed_source(config)
    selected = select_partitions(source, config)
    grounded = import_partitions(source, selected, config)
    shards = write_shards(source, grounded, config)
    dataset = describe_dataset(shards, config)
    made = [*selected, *grounded]
    curated = draw_dataset_card(dataset, made, config.caption_set, config.card)
    publish_changes(curated.card)
    return curated
