"""Parameter of the flow `curate`: from captions and images to grounded shards."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from data_schemas.configs.flow_config import FlowConfig, Settings

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=1)]


class PocketSource(Settings):
    """Scenes that the project draws itself, in COCO's and VSR's formats."""

    kind: Literal["pocket"]
    seed: int
    num_images: Annotated[int, Field(ge=8)]
    num_damaged: Annotated[int, Field(ge=0, description="Bad images and captions put among them.")]


class VsrCocoSource(Settings):
    """Visual Spatial Reasoning lines over COCO images and captions."""

    kind: Literal["vsr_coco"]
    vsr_path: Annotated[
        str, Field(description="VSR's JSON lines, for instance random_train.jsonl.")
    ]
    captions_paths: Annotated[
        list[str], Field(min_length=1, description="COCO captions_*.json, one or more.")
    ]
    images_dir: Annotated[str, Field(description="Folder that holds train2017/ and so on.")]


class SelectConfig(Settings):
    """Which images, and how many in a partition."""

    split: Annotated[str, Field(description="COCO folder of the images to keep.")]
    partition_size: Annotated[int, Field(ge=4, description="Images a partition, on average.")]


class RankConfig(Settings):
    """CLIP, which chooses the caption that fits the image best."""

    model: Annotated[str, Field(description="open_clip model name, or pocket:clip, or a folder.")]
    pretrained: Annotated[
        str, Field(description="open_clip tag of the weights; empty for a folder.")
    ]
    batch_size: Count


class ParseConfig(Settings):
    """flair, which finds the nouns."""

    model: Annotated[str, Field(description="flair model name, or pocket:tagger, or a file.")]
    noun_tags: Annotated[list[str], Field(min_length=1)]
    batch_size: Count


class MaskConfig(Settings):
    """Grounding DINO and SAM-HQ, which find the masks of the nouns."""

    detector_config: Annotated[str, Field(description="Config file of Grounding DINO.")]
    detector_checkpoint: Annotated[str, Field(description="Weights of Grounding DINO.")]
    text_encoder: Annotated[str, Field(description="BERT of Grounding DINO: hub name or folder.")]
    prompting: Annotated[
        Literal["caption", "phrase"],
        Field(description="Nouns in one prompt of the detector: all of a caption, or one."),
    ]
    box_threshold: Share
    text_threshold: Share
    nms_threshold: Share
    short_side: Count
    long_side: Count
    segmenter_config: Annotated[str, Field(description="SAM-HQ model type, or a config file.")]
    segmenter_checkpoint: Annotated[str, Field(description="Weights of SAM-HQ.")]
    batch_size: Count


class CurateConfig(FlowConfig):
    """Choose images, rank captions, find nouns, mask them, write shards."""

    section: ClassVar[str] = "curate"

    caption_set: Annotated[
        str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$", description="Name of the set, for its cards.")
    ]
    source: Annotated[PocketSource | VsrCocoSource, Field(discriminator="kind")]
    select: SelectConfig
    rank: RankConfig
    parse: ParseConfig
    mask: MaskConfig
    max_rejected_fraction: Annotated[
        Share, Field(description="A stage fails if more of its samples than this are left out.")
    ]
    device: Literal["auto", "cpu", "cuda"]
