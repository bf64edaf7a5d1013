"""Rows that travel from stage to stage, as Arrow tables in Parquet files.

Each stage adds to what the one before it wrote. Masks are COCO run-length encodings of full images
(`counts` as pycocotools writes them), boxes are left, top, right, bottom in pixels. Sizes, boxes
and masks are those of the image as models see it: turned upright as its EXIF data say, and the
first frame if it has several. `image_path` is relative to the image root of the set, and
`image_sha256` is the digest of that file as it came.
"""

import pyarrow as pa
from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """Base of all rows: frozen, and without surprises."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SelectedImage(Record):
    """An image with the captions that came with it."""

    key: str
    image_path: str
    image_sha256: str
    captions: list[str]


class AnsweredQuestion(Record):
    """A sample that a stage has put through its model.

    Attributes:
        key: The sample's.
        question: Digest of all in its input's row that decides what the model gives, so that
            another run finds the answer: the row of the stage's table, or none, if it was left out.
    """

    key: str
    question: str


class RankedImage(Record):
    """An image with the caption that fits it best, and the score of every candidate."""

    key: str
    image_path: str
    image_sha256: str
    width: int
    height: int
    caption: str
    captions: list[str]
    scores: list[float]


class NounPhrase(Record):
    """Adjacent nouns of a caption: `caption[start:end]` is `text`."""

    text: str
    start: int
    end: int


class ParsedCaption(Record):
    """A caption with its noun phrases in order of appearance."""

    key: str
    image_path: str
    image_sha256: str
    width: int
    height: int
    caption: str
    phrases: list[NounPhrase]


class GroundedPhrase(Record):
    """A noun phrase with what was found for it; no box and no mask if nothing was.

    Attributes:
        text, start, end: As in `NounPhrase`.
        boxes: One or more boxes, best first; around the mask, if that is all that is known.
        scores: Score of each box; none if the mask came from elsewhere without any.
        mask_counts: COCO run lengths of the united mask, empty if there is none.
    """

    text: str
    start: int
    end: int
    boxes: list[list[float]]
    scores: list[float]
    mask_counts: str


class GroundedCaption(Record):
    """A caption whose phrases were looked for in the image."""

    key: str
    image_path: str
    image_sha256: str
    width: int
    height: int
    caption: str
    phrases: list[GroundedPhrase]


class IndexedPhrase(GroundedPhrase):
    """A phrase in the index of a shard, see `SHARDS.md`; what is not there is null.

    Attributes:
        score: The best of its scores.
        mask: Name of its mask in the tar, which holds it as `<key>.<mask>`.
        mask_area: Pixels of its mask.
        mask_share: Share of the image that its mask covers.
    """

    score: float | None
    mask: str | None
    mask_area: int | None
    mask_share: float | None


class IndexedCaption(Record):
    """A sample in the index of a shard; the tar holds its image as `<key>.<image>`."""

    key: str
    image_path: str
    image_sha256: str
    image: str
    width: int
    height: int
    caption: str
    phrases: list[IndexedPhrase]


_PHRASE = [
    pa.field("text", pa.string()),
    pa.field("start", pa.int32()),
    pa.field("end", pa.int32()),
]
IMAGE_FIELDS = [
    pa.field("key", pa.string(), nullable=False),
    pa.field("image_path", pa.string(), nullable=False),
    pa.field("image_sha256", pa.string(), nullable=False),
]
"""Fields of every table of images with their captions."""
_SIZE = [pa.field("width", pa.int32()), pa.field("height", pa.int32())]

SELECTED_SCHEMA = pa.schema([*IMAGE_FIELDS, pa.field("captions", pa.list_(pa.string()))])
QUESTION_SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("question", pa.string(), nullable=False),
    ]
)
RANKED_SCHEMA = pa.schema(
    [
        *IMAGE_FIELDS,
        *_SIZE,
        pa.field("caption", pa.string()),
        pa.field("captions", pa.list_(pa.string())),
        pa.field("scores", pa.list_(pa.float32())),
    ]
)
PARSED_SCHEMA = pa.schema(
    [
        *IMAGE_FIELDS,
        *_SIZE,
        pa.field("caption", pa.string()),
        pa.field("phrases", pa.list_(pa.struct(_PHRASE))),
    ]
)
_GROUNDED_PHRASE = [
    *_PHRASE,
    pa.field("boxes", pa.list_(pa.list_(pa.float32(), 4))),
    pa.field("scores", pa.list_(pa.float32())),
    pa.field("mask_counts", pa.string()),
]
GROUNDED_SCHEMA = pa.schema(
    [
        *IMAGE_FIELDS,
        *_SIZE,
        pa.field("caption", pa.string()),
        pa.field("phrases", pa.list_(pa.struct(_GROUNDED_PHRASE))),
    ]
)
_INDEXED_PHRASE = [
    *_GROUNDED_PHRASE,
    pa.field("score", pa.float32()),
    pa.field("mask", pa.string()),
    pa.field("mask_area", pa.int64()),
    pa.field("mask_share", pa.float64()),
]
INDEX_SCHEMA = pa.schema(
    [
        *IMAGE_FIELDS,
        pa.field("image", pa.string(), nullable=False),
        *_SIZE,
        pa.field("caption", pa.string()),
        pa.field("phrases", pa.list_(pa.struct(_INDEXED_PHRASE))),
    ]
)
"""Index of a shard: everything of its samples but the image bytes, see `SHARDS.md`."""
