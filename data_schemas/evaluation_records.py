"""Rows of an evaluation: what was generated, what was found in it, and what that counts for."""

import pyarrow as pa

from data_schemas.records import IMAGE_FIELDS, Record

LOWEST_SCORE = 0.01
"""Detected boxes below this are not kept; above, a threshold may change without a model."""


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
        *IMAGE_FIELDS,
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
