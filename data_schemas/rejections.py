"""Why a sample, or one phrase of it, was left out."""

from enum import StrEnum

import pyarrow as pa
from pydantic import BaseModel, ConfigDict


class RejectionReason(StrEnum):
    """Every reason for which data is left out; each is counted and shown."""

    IMAGE_MISSING = "image-missing"
    IMAGE_UNREADABLE = "image-unreadable"
    CAPTION_MISSING = "caption-missing"
    CAPTION_EMPTY = "caption-empty"
    NO_NOUN = "no-noun"
    PHRASE_WITHOUT_BOX = "phrase-without-box"
    NO_BOX = "no-box"
    PHRASE_BEYOND_TEXT_LIMIT = "phrase-beyond-text-limit"
    PHRASE_SPLIT_DIFFERENTLY = "phrase-split-differently"
    PHRASE_CROPPED_AWAY = "phrase-cropped-away"


PHRASE_REASONS = frozenset(
    {
        RejectionReason.PHRASE_WITHOUT_BOX,
        RejectionReason.PHRASE_BEYOND_TEXT_LIMIT,
        RejectionReason.PHRASE_SPLIT_DIFFERENTLY,
        RejectionReason.PHRASE_CROPPED_AWAY,
    }
)
"""Reasons that cost a sample one phrase, and not the sample."""


class Rejection(BaseModel):
    """One thing left out.

    Attributes:
        key: Key of the sample.
        stage: Stage that left it out.
        reason: Why.
        detail: What exactly: a file name, a noun, a decoder's message.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    stage: str
    reason: RejectionReason
    detail: str = ""


REJECTION_SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string(), nullable=False),
    ]
)
