"""Why a sample, or one phrase of it, was left out."""

import re
from enum import StrEnum
from functools import cache
from inspect import cleandoc
from typing import Annotated

import pyarrow as pa
from pydantic import AfterValidator, BaseModel, ConfigDict

from data_schemas.redact_urls import cut_and_redact


class RejectionReason(StrEnum):
    """Every reason for which data is left out; each is counted and shown.

    Attributes:
        ROW_BROKEN: A line that is not JSON, a CSV row with too many or too few cells, or a COCO
            annotation of an image that its file does not have.
        ROW_NOT_UTF8: A row with bytes, or half a character, that no UTF-8 text has.
        ROW_FIELD_MISSING: A row that lacks the image, the caption or the id.
        ROW_WRONG_TYPE: A field that holds something else than text.
        ID_TAKEN: An id, or a name, that an earlier row gave to another image; or, where an image
            can have one row only, an image that an earlier row describes.
        IMAGE_MISSING: No such file.
        IMAGE_OUTSIDE_ROOT: A path that leaves the folder of the images.
        IMAGE_URL_REFUSED: A URL of a kind, or at an address, that the config does not allow.
        IMAGE_NOT_FETCHED: A URL that could not be read, after all retries.
        IMAGE_TIMEOUT: A URL that did not answer in time, after all retries.
        IMAGE_TOO_MANY_BYTES: A file behind a URL, or a sample's file in a tar, that is larger than
            the config allows.
        IMAGE_EMPTY: A file of no bytes.
        IMAGE_UNKNOWN_FORMAT: A file that is no image, whatever its name.
        IMAGE_TOO_SMALL: An image with a side below the config's limit.
        IMAGE_TOO_THIN: An image with a side too long for the other, by the config.
        IMAGE_TOO_LARGE: An image with more pixels than the config, or PIL, allows.
        IMAGE_UNREADABLE: An image with a good header whose pixels cannot be decoded to the last,
            because it is cut short or damaged.
        CAPTION_MISSING: An image without a caption.
        CAPTION_EMPTY: An image with blank captions only.
        CAPTION_WITHOUT_WORDS: An image whose captions have no letter, in any script.
        NO_NOUN: A caption in which no noun was found, or none that the config lets through.
        PHRASE_ON_STOP_LIST: A noun phrase that the config does not want.
        PHRASE_WITHOUT_BOX: A noun phrase that the detector did not find.
        NO_BOX: A caption of which no phrase was found.
        PHRASE_NOT_IN_CAPTION: A noun that came with a caption and does not stand in it.
        PHRASE_WITHOUT_MASK: A noun that came without a mask, or with an empty one.
        MASK_OUTSIDE_ROOT: A noun's mask whose path leaves the folder of the masks.
        MASK_MISSING: A noun's mask that is no file.
        MASK_UNREADABLE: A noun's mask that is no PNG, or none that can be decoded to the last.
        MASK_WRONG_SIZE: A noun's mask of another size than the image.
        NO_MASK: A caption of which no noun has a mask.
        PHRASE_BEYOND_TEXT_LIMIT: A phrase behind the last token that the text encoder reads.
        PHRASE_SPLIT_DIFFERENTLY: A phrase at other tokens for one text encoder than for the other.
        PHRASE_CROPPED_AWAY: A phrase whose mask lies outside the crop.
    """

    ROW_BROKEN = "row-broken"
    ROW_NOT_UTF8 = "row-not-utf8"
    ROW_FIELD_MISSING = "row-field-missing"
    ROW_WRONG_TYPE = "row-wrong-type"
    ID_TAKEN = "id-taken"
    IMAGE_MISSING = "image-missing"
    IMAGE_OUTSIDE_ROOT = "image-outside-root"
    IMAGE_URL_REFUSED = "image-url-refused"
    IMAGE_NOT_FETCHED = "image-not-fetched"
    IMAGE_TIMEOUT = "image-timeout"
    IMAGE_TOO_MANY_BYTES = "image-too-many-bytes"
    IMAGE_EMPTY = "image-empty"
    IMAGE_UNKNOWN_FORMAT = "image-unknown-format"
    IMAGE_TOO_SMALL = "image-too-small"
    IMAGE_TOO_THIN = "image-too-thin"
    IMAGE_TOO_LARGE = "image-too-large"
    IMAGE_UNREADABLE = "image-unreadable"
    CAPTION_MISSING = "caption-missing"
    CAPTION_EMPTY = "caption-empty"
    CAPTION_WITHOUT_WORDS = "caption-without-words"
    NO_NOUN = "no-noun"
    PHRASE_ON_STOP_LIST = "phrase-on-stop-list"
    PHRASE_WITHOUT_BOX = "phrase-without-box"
    NO_BOX = "no-box"
    PHRASE_NOT_IN_CAPTION = "phrase-not-in-caption"
    PHRASE_WITHOUT_MASK = "phrase-without-mask"
    MASK_OUTSIDE_ROOT = "mask-outside-root"
    MASK_MISSING = "mask-missing"
    MASK_UNREADABLE = "mask-unreadable"
    MASK_WRONG_SIZE = "mask-wrong-size"
    NO_MASK = "no-mask"
    PHRASE_BEYOND_TEXT_LIMIT = "phrase-beyond-text-limit"
    PHRASE_SPLIT_DIFFERENTLY = "phrase-split-differently"
    PHRASE_CROPPED_AWAY = "phrase-cropped-away"


PHRASE_REASONS = frozenset(
    {
        RejectionReason.PHRASE_ON_STOP_LIST,
        RejectionReason.PHRASE_WITHOUT_BOX,
        RejectionReason.PHRASE_NOT_IN_CAPTION,
        RejectionReason.PHRASE_WITHOUT_MASK,
        RejectionReason.MASK_OUTSIDE_ROOT,
        RejectionReason.MASK_MISSING,
        RejectionReason.MASK_UNREADABLE,
        RejectionReason.MASK_WRONG_SIZE,
        RejectionReason.PHRASE_BEYOND_TEXT_LIMIT,
        RejectionReason.PHRASE_SPLIT_DIFFERENTLY,
        RejectionReason.PHRASE_CROPPED_AWAY,
    }
)
"""Reasons that cost a sample one phrase, and not the sample."""


@cache
def describe_reason(reason: str) -> str:
    """What a reason means, for people: its line in the docstring of `RejectionReason`."""
    lines = cleandoc(RejectionReason.__doc__ or "")
    found = re.search(rf"^    {RejectionReason(reason).name}: (.*(?:\n {{8}}.*)*)", lines, re.M)
    return " ".join(found[1].split()) if found else ""


class Rejection(BaseModel):
    """One thing left out.

    Attributes:
        key: Key of the sample.
        stage: Stage that left it out.
        reason: Why.
        detail: What exactly: a file name, a noun, a decoder's message. URLs in it lose what they
            may keep secret, and it is cut if it is very long; see `cut_and_redact`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    stage: str
    reason: RejectionReason
    detail: Annotated[str, AfterValidator(cut_and_redact)] = ""


REJECTION_SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string(), nullable=False),
    ]
)
