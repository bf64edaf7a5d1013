"""Rows that travel from stage to stage, as Arrow tables in Parquet files.

Each stage adds to what the one before it wrote. Masks are COCO run-length encodings of full images
(`counts` as pycocotools writes them), boxes are left, top, right, bottom in pixels. Sizes, boxes
and masks are those of the image as models see it: turned upright as its EXIF data say, and the
first frame if it has several. `image_path` is relative to the image root of the set, and
`image_sha256` is the digest of that file as it came.
"""

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

LOWEST_SCORE = 0.01
"""Detected boxes below this are not kept; above, a threshold may change without a model."""


class Record(BaseModel):
    """Base of all rows: frozen, and without surprises."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SelectedImage(Record):
    """An image with the captions that came with it."""

    key: str
    image_path: str
    image_sha256: str
    captions: list[str]


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


class CaptionPair(Record):
    """A real image and the one of its captions that is a prompt."""

    prompt_id: int
    caption: str
    key: str
    image_path: str
    image_sha256: str


class GeneratedImage(Record):
    """An image that was generated, by prompt and round.

    Attributes:
        blanked: Whether the model's safety checker made it black.
    """

    image: str
    prompt_id: int
    round: int
    seed: int
    prompt: str
    categories: list[str]
    blanked: bool


class ClipScoredImage(Record):
    """CLIPScore of a generated image and its prompt; none of one that was blanked."""

    image: str
    prompt_id: int
    round: int
    blanked: bool
    score: float | None


class DetectedBox(Record):
    """A box found in a generated image.

    Attributes:
        image, prompt_id, round: As in `GeneratedImage`.
        category: The best of the categories of the image's prompt.
        score: Its score, in [0, 1]; below the floor if the box is kept for its rival alone.
        rival: The best of all categories of the benchmark, which may be the same.
        rival_score: Its score, at least `score`.
        box: As detected; it may go beyond the image.
    """

    image: str
    prompt_id: int
    round: int
    category: str
    score: float
    rival: str
    rival_score: float
    box: list[float]


class ScoredImage(Record):
    """What an image shows of what its prompt asked for, from which every score is counted.

    Attributes:
        prompt_id, round: Which image.
        blanked: Made black by a safety checker; no share counts it.
        found: Categories of the prompt that were found, in the order of the prompt.
        num_found: How many those are.
        instead: Categories found that the prompt did not ask for, by name.
        related: Whether the first category lies to the second as asked; null if nothing was.
    """

    prompt_id: int
    round: int
    blanked: bool
    found: list[str]
    num_found: int
    instead: list[str]
    related: bool | None


_PHRASE = [
    pa.field("text", pa.string()),
    pa.field("start", pa.int32()),
    pa.field("end", pa.int32()),
]
_IMAGE = [
    pa.field("key", pa.string(), nullable=False),
    pa.field("image_path", pa.string(), nullable=False),
    pa.field("image_sha256", pa.string(), nullable=False),
]
_SIZE = [pa.field("width", pa.int32()), pa.field("height", pa.int32())]

SELECTED_SCHEMA = pa.schema([*_IMAGE, pa.field("captions", pa.list_(pa.string()))])
RANKED_SCHEMA = pa.schema(
    [
        *_IMAGE,
        *_SIZE,
        pa.field("caption", pa.string()),
        pa.field("captions", pa.list_(pa.string())),
        pa.field("scores", pa.list_(pa.float32())),
    ]
)
PARSED_SCHEMA = pa.schema(
    [
        *_IMAGE,
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
        *_IMAGE,
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
        *_IMAGE,
        pa.field("image", pa.string(), nullable=False),
        *_SIZE,
        pa.field("caption", pa.string()),
        pa.field("phrases", pa.list_(pa.struct(_INDEXED_PHRASE))),
    ]
)
"""Index of a shard: everything of its samples but the image bytes, see `SHARDS.md`."""

DETECTION_SCHEMA = pa.schema(
    [
        pa.field("image", pa.string(), nullable=False),
        pa.field("prompt_id", pa.int32(), nullable=False),
        pa.field("round", pa.int32(), nullable=False),
        pa.field("category", pa.string(), nullable=False),
        pa.field("score", pa.float32(), nullable=False),
        pa.field("rival", pa.string(), nullable=False),
        pa.field("rival_score", pa.float32(), nullable=False),
        pa.field("box", pa.list_(pa.float32(), 4)),
    ]
)
"""Boxes found in generated images, one row a box; an image without any has no row."""

GENERATED_SCHEMA = pa.schema(
    [
        pa.field("image", pa.string(), nullable=False),
        pa.field("prompt_id", pa.int32(), nullable=False),
        pa.field("round", pa.int32(), nullable=False),
        pa.field("seed", pa.int64(), nullable=False),
        pa.field("prompt", pa.string(), nullable=False),
        pa.field("categories", pa.list_(pa.string())),
        pa.field("blanked", pa.bool_(), nullable=False),
    ]
)
"""Index of generated images."""

PAIR_SCHEMA = pa.schema(
    [
        pa.field("prompt_id", pa.int32(), nullable=False),
        pa.field("caption", pa.string(), nullable=False),
        *_IMAGE,
    ]
)
"""Real images and the captions that are prompts."""

CLIP_SCORE_SCHEMA = pa.schema(
    [
        pa.field("image", pa.string(), nullable=False),
        pa.field("prompt_id", pa.int32(), nullable=False),
        pa.field("round", pa.int32(), nullable=False),
        pa.field("blanked", pa.bool_(), nullable=False),
        pa.field("score", pa.float64()),
    ]
)
"""CLIPScore of generated images, one row an image."""
SCORED_SCHEMA = pa.schema(
    [
        pa.field("prompt_id", pa.int32(), nullable=False),
        pa.field("round", pa.int32(), nullable=False),
        pa.field("blanked", pa.bool_(), nullable=False),
        pa.field("found", pa.list_(pa.string()), nullable=False),
        pa.field("num_found", pa.int32(), nullable=False),
        pa.field("instead", pa.list_(pa.string()), nullable=False),
        pa.field("related", pa.bool_()),
    ]
)
"""Judged images, one row an image, by prompt and round."""
