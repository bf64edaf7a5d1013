"""Parameter of the flow `curate`: from captions and images to grounded shards."""

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, StringConstraints

from data_schemas.configs.flow_config import Count, Device, FlowConfig, Settings, Share
from data_schemas.configs.mask_config import MaskConfig
from data_schemas.redact_urls import redact_urls

CaptionSetName = Annotated[
    str,
    Field(
        pattern=r"^[a-z0-9][a-z0-9-]*$",
        description="Name of the set, for its cards: small letters, digits and hyphens.",
    ),
]


def _check_file(path: str) -> str:
    if "://" in path:
        raise ValueError(
            f"{redact_urls(path)!r} is a URL; caption files have to be on this machine"
        )
    return path


def _check_folder(path: str) -> str:
    if "://" in path:
        raise ValueError(
            f"{redact_urls(path)!r} is a URL; the folder has to be on this machine. Images behind"
            " URLs are named in the image column"
        )
    return path


CaptionFile = Annotated[str, AfterValidator(_check_file)]
Paths = Annotated[list[CaptionFile], Field(min_length=1, description="Files, one or more.")]
Folder = Annotated[str, AfterValidator(_check_folder)]


class PocketSource(Settings):
    """Scenes that the project draws itself, in COCO's and VSR's formats."""

    kind: Literal["pocket"]
    seed: Annotated[int, Field(description="Draws the scenes.")]
    num_images: Annotated[int, Field(ge=8, description="Scenes of all COCO folders together.")]
    num_damaged: Annotated[int, Field(ge=0, description="Bad images and captions put among them.")]


class VsrCocoSource(Settings):
    """Visual Spatial Reasoning lines over COCO images and captions."""

    kind: Literal["vsr_coco"]
    vsr_path: Annotated[
        CaptionFile, Field(description="VSR's JSON lines, for instance random_train.jsonl.")
    ]
    captions_paths: Annotated[Paths, Field(description="COCO captions_*.json, one or more.")]
    images_dir: Annotated[Folder, Field(description="Folder that holds train2017/ and so on.")]
    coco_year: Annotated[
        Literal[2014, 2017],
        Field(description="Release of the captions and images; VSR names those of 2017."),
    ] = 2017
    labels: Annotated[
        tuple[Literal[0, 1], ...],
        Field(description="Statements that count: false ones, true ones; the paper takes both."),
    ] = (0, 1)
    relations: Annotated[
        tuple[str, ...],
        Field(description="Relations that count, for instance left of; empty: all."),
    ] = ()


class ImageLimits(Settings):
    """Which images are taken, and how those behind URLs are copied.

    Pixels are counted in the header, before anything is decoded. Images that are files have no
    limit of bytes.
    """

    min_side: Annotated[Count, Field(description="Least width and height in pixels.")] = 32
    max_pixels: Annotated[
        int,
        Field(ge=1, le=178_956_970, description="Most pixels; PIL opens none with more than that."),
    ] = 89_478_485
    max_ratio: Annotated[
        int,
        Field(
            ge=1,
            le=40,
            description="How many times as long as the other a side may be; the detector finds too"
            " few places in a picture thinner than 1 : 40.",
        ),
    ] = 30
    url_schemes: Annotated[
        tuple[str, ...], Field(description="Kinds of URL that may be read; fsspec knows many more.")
    ] = ("https", "http", "s3", "gs")
    private_hosts: Annotated[
        tuple[str, ...],
        Field(
            description="Hosts behind http and https that may be asked although their addresses"
            " are private, of this machine or of its network; * allows all."
        ),
    ] = ()
    max_bytes: Annotated[
        Count, Field(description="Most bytes of an image behind a URL or in a tar.")
    ] = 50_000_000
    timeout_seconds: Annotated[
        float, Field(gt=0, description="Longest time that one attempt at a URL may take.")
    ] = 30.0
    num_retries: Annotated[int, Field(ge=0, description="Attempts after the first.")] = 3


class _OwnSource(Settings):
    """What all sources of a user's own share.

    They stand in no profile, so that their fields have defaults here.
    """

    image_limits: ImageLimits = ImageLimits()


class TableSource(_OwnSource):
    """Rows with an image and captions; rows of one image are joined."""

    id_column: Annotated[
        str, Field(description="Names a sample; empty: the path of its image does.")
    ] = ""
    filters: Annotated[
        dict[str, list[str]],
        Field(
            default_factory=dict,
            description="Rows are taken whose value of each column is among these, as text.",
        ),
    ]


_IMAGES_DIR = (
    "Root of the images' paths, which none may leave. Images behind URLs are copied to fetched/ in"
    " it."
)
ImagesDir = Annotated[Folder, Field(description=_IMAGES_DIR)]
_IMAGE = "Name of the column or field with the image: its path, or URL"
_CAPTION = "Name of the column or field with the caption, or a list of captions."
ImageColumn = Annotated[str, Field(description=f"{_IMAGE}.")]
CaptionColumn = Annotated[str, Field(description=_CAPTION)]


class CocoCaptionsSource(_OwnSource):
    """COCO captions files, all of whose images are taken."""

    kind: Literal["coco_captions"]
    captions_paths: Annotated[Paths, Field(description="COCO captions_*.json, one or more.")]
    images_dir: Annotated[
        Folder, Field(description="Folder of the images, for instance coco/train2017.")
    ]


class JsonSource(TableSource):
    """JSON: a list of objects, or an object a line."""

    kind: Literal["json"]
    paths: Paths
    images_dir: ImagesDir
    image_column: ImageColumn = "img_path"
    caption_column: CaptionColumn = "caption"


class CsvSource(TableSource):
    """CSV files with a line of column names."""

    kind: Literal["csv"]
    paths: Paths
    images_dir: ImagesDir
    image_column: ImageColumn
    caption_column: Annotated[str, Field(description="Name of the column with the caption.")]
    delimiter: Annotated[
        str, Field(min_length=1, max_length=1, description="Between the values of a row.")
    ] = ","


class ParquetSource(TableSource):
    """Parquet files; captions are text or lists of texts, images paths, URLs or bytes."""

    kind: Literal["parquet"]
    paths: Paths
    images_dir: ImagesDir
    image_column: Annotated[str, Field(description=f"{_IMAGE}, or its bytes.")]
    caption_column: CaptionColumn


class ImageFolderSource(TableSource):
    """A folder of images with `metadata.jsonl`, as Hugging Face's `imagefolder` reads it."""

    kind: Literal["image_folder"]
    images_dir: Annotated[Folder, Field(description="The folder, with metadata.jsonl in it.")]
    image_column: ImageColumn = "file_name"
    caption_column: CaptionColumn = "text"


class WebdatasetSource(_OwnSource):
    """WebDataset tars with an image and a `txt`, or a `json`, a sample."""

    kind: Literal["webdataset"]
    paths: Paths
    images_dir: Annotated[
        Folder, Field(description="Folder to whose unpacked/ the images are written.")
    ]
    caption_column: Annotated[
        str, Field(description="Field of the caption in a sample's json, if it has no txt.")
    ] = "caption"


OwnSource = (
    CocoCaptionsSource
    | JsonSource
    | CsvSource
    | ParquetSource
    | ImageFolderSource
    | WebdatasetSource
)
"""Sources that a user brings along."""


class SelectConfig(Settings):
    """Which images, and how many in a partition."""

    split: Annotated[
        str, Field(description="COCO folder of the images to keep, of those that VSR names.")
    ]
    partition_size: Annotated[int, Field(ge=4, description="Images a partition, on average.")]


class RankConfig(Settings):
    """CLIP, which chooses the caption that fits the image best."""

    model: Annotated[str, Field(description="open_clip model name, or pocket:clip, or a folder.")]
    pretrained: Annotated[
        str,
        Field(
            description="open_clip tag of the weights, or their file, of OpenAI's with a model name"
            " that ends in -quickgelu; empty for a folder."
        ),
    ]
    batch_size: Annotated[Count, Field(description="Images, and captions, that it sees at once.")]


StopNoun = Annotated[str, StringConstraints(to_lower=True, strip_whitespace=True, min_length=1)]


class ParseConfig(Settings):
    """flair, which finds the nouns."""

    model: Annotated[str, Field(description="flair model name, or pocket:tagger, or a file.")]
    noun_tags: Annotated[
        list[str], Field(min_length=1, description="The tagger's tags of words that are nouns.")
    ]
    stop_nouns: Annotated[
        list[StopNoun],
        Field(
            description="Nouns not to be grounded: a phrase is left out if it ends in one of them,"
            " so that side leaves out side and left side, and keeps side dish."
        ),
    ]
    batch_size: Annotated[Count, Field(description="Captions tagged at once.")]


class CardConfig(Settings):
    """What the card of the data set shows."""

    seed: Annotated[int, Field(description="Chooses the samples that are shown; try another.")]
    num_samples: Annotated[int, Field(ge=0, le=100, description="Samples with their masks.")]
    num_phrases: Annotated[
        int, Field(ge=0, le=100, description="Phrases of the lowest, and of the highest score.")
    ]
    least_occurrences: Annotated[
        Count, Field(description="Nouns that occur less are not called well or badly grounded.")
    ]


class CurateConfig(FlowConfig):
    """Choose images, rank captions, find nouns, mask them, write shards."""

    section: ClassVar[str] = "curate"

    caption_set: CaptionSetName
    source: Annotated[PocketSource | VsrCocoSource | OwnSource, Field(discriminator="kind")]
    select: SelectConfig
    rank: RankConfig
    parse: ParseConfig
    mask: MaskConfig
    card: CardConfig
    max_rejected_fraction: Annotated[
        Share, Field(description="A stage fails if more of its samples than this are left out.")
    ]
    device: Device
