"""From captions and images to grounded shards."""

from prefect import flow

from data_schemas.configs.curate_config import CurateConfig
from tasks.announce import announce_dataset
from tasks.check_curation import check_curation
from tasks.describe_dataset import describe_dataset
from tasks.draw_dataset_card import CuratedSet, draw_dataset_card
from tasks.mask_nouns import mask_nouns
from tasks.parse_nouns import parse_nouns
from tasks.prepare_source import Source, prepare_source
from tasks.publish_changes import publish_changes
from tasks.rank_captions import rank_captions
from tasks.select_images import select_partitions
from tasks.stage import Input
from tasks.task_runner import TASK_RUNNER
from tasks.write_shards import write_shards

POCKET = CurateConfig.load("pocket")


@flow(
    name="curate",
    flow_run_name="curate {config.caption_set} ({config.profile})",
    task_runner=TASK_RUNNER,
)
def curate(config: CurateConfig = POCKET) -> CuratedSet:
    """Choose images, rank their captions, find and mask the nouns, and write shards.

    Returns:
        The key of the data set in the store, which `finetune` takes, and where its report lies.
    """
    check_curation(config)
    source = prepare_source(config)
    return ground(source, select_partitions(source, config), config)


def ground(source: Source, selected: list[Input], config: CurateConfig) -> CuratedSet:
    """The stages after the selection, for `curate` and `retry_rejected`."""
    ranked = rank_captions(source, selected, config)
    parsed = parse_nouns(ranked, config)
    grounded = mask_nouns(source, parsed, config)
    shards = write_shards(source, grounded, config)
    dataset = describe_dataset(shards, config)
    made = [*selected, *ranked, *parsed, *grounded]
    curated = draw_dataset_card(dataset, made, config.caption_set, config.card)
    publish_changes(curated.card)
    announce_dataset(curated.dataset, config.caption_set, config.profile)
    return curated
