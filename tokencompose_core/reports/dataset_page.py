"""The page of a grounded data set: what a person needs to judge it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO

from PIL import Image

from data_schemas.manifest import StageTotals
from data_schemas.records import IndexedCaption
from tokencompose_core.reports.caption_pieces import Piece, cut_caption
from tokencompose_core.reports.dataset_figures import PUBLISHED, DatasetFigures, Noun
from tokencompose_core.reports.left_out import LeftOut
from tokencompose_core.reports.page import data_url, render
from tokencompose_core.reports.paint_masks import colour_of, crop_phrase, paint_sample

MOST_PHRASES = 24
_SAMPLE_SIDE = 340
_CROP_SIDE = 160
_MOST_DETAIL = 200
# Pictures of control characters: browsers drop the characters themselves, or break lines at them.
_VISIBLE = {code: 0x2400 + code for code in range(32)} | {127: 0x2421}


@dataclass(frozen=True)
class Chip:
    """A phrase below its picture: what it is, and what was found for it."""

    text: str
    found: str
    colour: str


@dataclass(frozen=True)
class ShownSample:
    """A sample of the gallery.

    Attributes:
        key: Its key.
        picture: The image with masks.
        pieces: The caption in pieces, each with its colour.
        chips: Its phrases.
        num_more: How many phrases more it has.
    """

    key: str
    picture: Image.Image
    pieces: list[tuple[Piece, str]]
    chips: list[Chip]
    num_more: int

    @property
    def url(self) -> str:
        """The picture as a data URL."""
        return _jpeg_url(self.picture)


@dataclass(frozen=True)
class ShownPhrase:
    """A phrase cut out of its image."""

    key: str
    text: str
    score: float
    picture: Image.Image

    @property
    def url(self) -> str:
        """The picture as a data URL."""
        return _jpeg_url(self.picture)


@dataclass(frozen=True)
class DatasetPage:
    """All that the page shows.

    Attributes:
        title: Name of the set.
        dataset: Its key in the store.
        figures: Its numbers.
        charts: Data URLs of the charts of distributions and of nouns.
        best, worst: Nouns that get a mask most and least often.
        least_occurrences: How often a noun has to occur to be among them.
        samples: The gallery.
        highest, lowest: Single phrases by their score.
        stages: What became of the samples.
        left_out: What was left out, and why.
    """

    title: str
    dataset: str
    figures: DatasetFigures
    charts: tuple[str, str]
    best: list[Noun]
    worst: list[Noun]
    least_occurrences: int
    samples: list[ShownSample]
    highest: list[ShownPhrase]
    lowest: list[ShownPhrase]
    stages: Sequence[StageTotals]
    left_out: list[LeftOut] = field(default_factory=list)


def show_sample(image: Image.Image, row: IndexedCaption) -> ShownSample:
    """A sample as the gallery shows it.

    Args:
        image: Its image, upright; closed or changed by no one else.
        row: Its row in the index.
    """
    return ShownSample(
        key=row.key,
        picture=paint_sample(image, row, _SAMPLE_SIDE),
        pieces=[(piece, _css(piece.number)) for piece in cut_caption(row.caption, row.phrases)],
        chips=[
            Chip(
                text=phrase.text,
                found=_found(phrase.score, phrase.mask_share),
                colour=_css(number) if phrase.mask else "",
            )
            for number, phrase in enumerate(row.phrases[:MOST_PHRASES])
        ],
        num_more=max(0, len(row.phrases) - MOST_PHRASES),
    )


def show_phrase(image: Image.Image, row: IndexedCaption, number: int) -> ShownPhrase:
    """A phrase as the page shows it, by its number in the caption."""
    phrase = row.phrases[number]
    assert phrase.score is not None  # it was chosen by its score
    picture = crop_phrase(image, row, number, _CROP_SIDE)
    return ShownPhrase(key=row.key, text=phrase.text, score=phrase.score, picture=picture)


def render_dataset_page(page: DatasetPage) -> str:
    """The page in HTML; it needs no other file, and every text is escaped."""
    rows = [
        (
            name,
            "none" if value is None else _format(name, value),
            _format(name, PUBLISHED[name]) if name in PUBLISHED else "",
        )
        for name, value in page.figures.numbers.items()
    ]
    return render("dataset_page.html", page=page, rows=rows, shown=visible, percent=_percent)


def visible(text: str, most: int = _MOST_DETAIL) -> str:
    """A text of a stranger's for the page: control characters visible, and not too long."""
    return (text if len(text) <= most else text[:most] + "…").translate(_VISIBLE)


def _format(name: str, value: float) -> str:
    if "share" in name or "%" in name:
        return _percent(value)
    return f"{value:.2f}" if isinstance(value, float) else f"{value:,}"


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _found(score: float | None, share: float | None) -> str:
    if share is None:
        return "no mask"
    scored = "" if score is None else f"score {score:.2f}, "
    return f"{scored}{_percent(share)} of the image"


def _css(number: int) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour_of(max(0, number)))


def _jpeg_url(picture: Image.Image) -> str:
    stream = BytesIO()
    picture.save(stream, "JPEG", quality=85)
    return data_url(stream.getvalue(), "jpeg")
