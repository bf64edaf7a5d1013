"""Refuse, before anything is computed, a data set whose models are not there."""

from data_schemas.configs.curate_config import CurateConfig
from tasks.image_extractors import check_clip
from tasks.mask_models import check_mask_models
from tasks.parse_nouns import check_tagger
from tasks.stage import PLANNER
from tokencompose_core.checkpoints.locate import locate


def check_curation(config: CurateConfig) -> None:
    """Look for the models of the stages `rank`, `parse` and `mask`; no weights are loaded.

    Raises:
        FileNotFoundError: If one is not there, naming the field.
        ValueError: If one is not what it should be, naming the field.
    """
    # In keys a name stands for a model of open_clip: a plan need not import it.
    if PLANNER.get() is None or locate(config.rank.model) is not None:
        check_clip(config.rank, "rank")
    check_tagger(config)
    check_mask_models(config)
