"""Parameter of the flow `import_masks`: captions and images with masks that somebody else made."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from data_schemas.configs.curate_config import (
    CaptionFile,
    CaptionSetName,
    CardConfig,
    Folder,
    ImageLimits,
    SelectConfig,
)
from data_schemas.configs.flow_config import Settings, Share


class ImportMasksConfig(Settings):
    """Take captions, nouns and masks as TokenCompose released them, and write shards.

    No model runs, so there is nothing that a profile would decide: where a set lies is its owner's
    to say, and the rest has defaults here.
    """

    # There is no profile to fill in what is left out, so the form asks for it.
    model_config = ConfigDict(json_schema_extra=None)

    metadata_path: Annotated[
        CaptionFile, Field(description="metadata.jsonl with file_name, text and attn_list.")
    ]
    masks_dir: Annotated[
        Folder,
        Field(description="Folder for which `seg/` stands in attn_list, such as coco_gsam_seg."),
    ]
    images_dir: Annotated[
        Folder, Field(description="Root of the images' paths; empty: the folder of metadata_path.")
    ] = ""
    caption_set: CaptionSetName = "tokencompose"
    black_masks: Annotated[
        Literal["whole_image", "none"],
        Field(
            description="What an all-black mask stands for: the released code wrote masks of the"
            " whole image black."
        ),
    ] = "whole_image"
    partition_size: Annotated[int, Field(ge=4, description="Images a partition, on average.")] = 128
    max_rejected_fraction: Annotated[
        Share, Field(description="A stage fails if more of its samples than this are left out.")
    ] = 0.2
    image_limits: ImageLimits = ImageLimits()
    card: CardConfig = CardConfig(seed=1, num_samples=12, num_phrases=8, least_occurrences=20)

    @property
    def select(self) -> SelectConfig:
        """What the stage `select` is told; there is no split to choose."""
        return SelectConfig(split="", partition_size=self.partition_size)
