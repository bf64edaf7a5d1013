"""What became of single samples of a data set, as a page in the Prefect UI."""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from prefect.artifacts import create_markdown_artifact
from pydantic import BaseModel, ConfigDict

from data_schemas.manifest import Manifest
from data_schemas.rejections import describe_reason
from tasks.cards import artifact_key, picture
from tasks.curated_sets import CuratedRecord, find_curated, outputs_of
from tasks.import_masks import GROUNDED_NAME as IMPORTED_NAME
from tasks.links import link_to_card, link_to_maker, link_to_output
from tasks.markdown import plain_text, table
from tasks.mask_nouns import GROUNDED_NAME
from tasks.parse_nouns import PARSED_NAME
from tasks.rank_captions import RANKED_NAME
from tasks.sample_lines import sample_lines
from tasks.stage import open_store
from tasks.write_shards import INDEX_NAME, SHARD_NAME
from tokencompose_core.store.content_store import Store
from tokencompose_core.store.rejections import REJECTIONS_NAME

if TYPE_CHECKING:
    from tokencompose_core.reports.sample_story import SampleStory

_MOST_SAMPLES = 5
_MOST_CAPTIONS = 12
_MOST_PHRASES = 24
_NUM_SIMILAR = 5
# Five of them in base64 leave room for the text: Prefect stores and lists artifacts whole.
_MOST_IMAGE_BYTES = 22_000
_SIDE = 420
_TABLES = {
    "select": "part-",
    "rank": RANKED_NAME,
    "parse": PARSED_NAME,
    "mask": GROUNDED_NAME,
    "import": IMPORTED_NAME,
    "shard": INDEX_NAME,
}


class InspectedSample(BaseModel):
    """A sample, in a word what became of it, and in a few lines how."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    image_path: str
    fate: str
    lines: list[str]


class Inspection(BaseModel):
    """The samples that were found, and the key of the artifact that shows them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    samples: list[InspectedSample]
    num_matches: int
    artifact: str


def inspect_samples(dataset: str, sample: str) -> Inspection:
    """Publish what became of the samples that a text names.

    Args:
        dataset: A caption set or the key of a data set; the newest data set if it is empty.
        sample: What the samples' keys, image paths or captions contain.

    Raises:
        ValueError: If there is no such data set or sample, naming similar ones.
    """
    from tokencompose_core.reports.find_samples import find_samples, similar_names
    from tokencompose_core.reports.sample_story import tell_stories

    if not sample.strip():
        raise ValueError(
            "sample: expected a part of a key, an image path or a caption; it is empty"
        )
    store = open_store()
    record = find_curated(store, dataset)
    made = outputs_of(store, record)
    tables = {
        stage: list(_tables(store, made[stage], name))
        for stage, name in _TABLES.items()
        if stage in made
    }
    rejections = [one for own in made.values() for one in _tables(store, own, REJECTIONS_NAME)]
    searched = (
        [path for _, path in tables.get("select", [])],
        [path for key, path in rejections if key.startswith("select-")],
    )
    found, num_matches = find_samples(*searched, sample.strip(), _MOST_SAMPLES)
    if not found:
        similar = similar_names(*searched, sample.strip(), _NUM_SIMILAR)
        raise ValueError(
            f"no sample of {record.caption_set!r} ({record.dataset}) has {sample!r} in its key,"
            f" image path or captions; {f'similar: {similar}' if similar else 'nothing is similar'}"
        )
    stories = list(tell_stories([one.key for one in found], tables, rejections).values())
    artifact = artifact_key("inspect", record.caption_set)
    lines = list(_head(record, sample, len(stories), num_matches))
    for story in stories:
        lines += _section(story, store, made)
    create_markdown_artifact(
        key=artifact,
        markdown="\n".join(lines),
        description=f"inspect: {record.caption_set}, {sample[:80]}",
    )
    return Inspection(
        dataset=record.dataset,
        samples=[
            InspectedSample(
                key=story.key,
                image_path=story.image_path,
                fate=_fate(story),
                lines=sample_lines(story),
            )
            for story in stories
        ],
        num_matches=num_matches,
        artifact=artifact,
    )


def _tables(store: Store, manifests: Sequence[Manifest], name: str) -> Iterator[tuple[str, Path]]:
    for manifest in manifests:
        for file in manifest.names(".parquet"):
            if file.startswith(name):
                yield manifest.key, store.path(manifest, file)


def _head(record: CuratedRecord, text: str, num_shown: int, num_matches: int) -> Iterator[str]:
    card = link_to_card(artifact_key(record.card.stage, record.caption_set), "its card")
    more = "" if num_matches == num_shown else f", the first {num_shown} are shown"
    yield f"# {plain_text(text)} in {record.caption_set}"
    yield ""
    yield f"{num_matches} found{more}. Data set {link_to_output(record.dataset)}, {card}."
    yield ""


def _fate(story: "SampleStory") -> str:
    lost = story.lost
    if lost is not None:
        return f"left out by {lost.stage}: {lost.reason}"
    return "in the data set" if story.indexed is not None else "nothing is known of it any more"


def _section(story: "SampleStory", store: Store, made: dict[str, list[Manifest]]) -> Iterator[str]:
    yield f"## {plain_text(story.key)}"
    yield ""
    yield f"**{_fate(story)}**"
    yield ""
    if (lost := story.lost) is not None:
        yield f"{plain_text(describe_reason(lost.reason))} What exactly: {plain_text(lost.detail)}"
        yield ""
    if story.image_path:
        yield f"Image: {plain_text(story.image_path)}"
        yield ""
    manifests = {manifest.key: manifest for own in made.values() for manifest in own}
    if story.indexed is not None:
        shard = manifests[story.outputs["shard"]]
        yield picture(_paint(story, store.path(shard, SHARD_NAME)), "jpeg", "the image with masks")
        yield ""
    yield from _captions(story)
    yield from _phrases(story)
    yield from table(
        ("stage", "output that it is in, or that left it out", "computed by"),
        [
            (stage, link_to_output(key), link_to_maker(manifests[key]))
            for stage, key in story.outputs.items()
        ],
    )


def _paint(story: "SampleStory", shard: Path) -> bytes:
    from PIL import Image

    from tokencompose_core.reports.contact_sheet import jpeg_under
    from tokencompose_core.reports.paint_masks import paint_sample
    from tokencompose_core.shards.read_shard import read_members

    row = story.indexed
    assert row is not None
    content = read_members(shard, {f"{row.key}.{row.image}"})[f"{row.key}.{row.image}"]
    painted = paint_sample(Image.open(io.BytesIO(content)), row, _SIDE)
    return jpeg_under(painted, _MOST_IMAGE_BYTES)


def _captions(story: "SampleStory") -> Iterator[str]:
    """All captions, the chosen one first."""
    if story.ranked is not None:
        chosen = story.ranked.caption
        pairs = sorted(
            zip(story.ranked.captions, story.ranked.scores, strict=True), key=lambda p: -p[1]
        )
        rows = [
            (f"**{plain_text(text)}**" if text == chosen else plain_text(text), f"{score:.3f}")
            for text, score in pairs[:_MOST_CAPTIONS]
        ]
        yield from table(("caption, the chosen one bold", "CLIP score"), rows)
    elif story.selected is not None:
        captions = story.selected.captions[:_MOST_CAPTIONS]
        yield from table(("caption",), [(plain_text(text),) for text in captions])


def _phrases(story: "SampleStory") -> Iterator[str]:
    """Noun phrases with what was found for them, in the colours of their masks."""
    from tokencompose_core.reports.paint_masks import colour_name_of

    why = {r.detail: str(r.reason) for r in story.rejections if r is not story.lost}
    rows = []
    if story.indexed is not None:
        for number, phrase in enumerate(story.indexed.phrases[:_MOST_PHRASES]):
            name = plain_text(phrase.text)
            if phrase.mask is None:
                rows.append((name, "none", "", "", "", why.pop(phrase.text, "")))
                continue
            score = "" if phrase.score is None else f"{phrase.score:.3f}"
            box = ", ".join(f"{side:.0f}" for side in phrase.boxes[0]) if phrase.boxes else ""
            boxes = f"{box} and {len(phrase.boxes) - 1} more" if len(phrase.boxes) > 1 else box
            share = "" if phrase.mask_share is None else f"{100 * phrase.mask_share:.1f} %"
            rows.append((f"**{name}**", colour_name_of(number), share, score, boxes, ""))
    elif story.parsed is not None:
        rows += [
            (plain_text(phrase.text), "none", "", "", "", why.pop(phrase.text, ""))
            for phrase in story.parsed.phrases[:_MOST_PHRASES]
        ]
    rows += [(plain_text(text), "none", "", "", "", reason) for text, reason in why.items()]
    columns = (
        "noun phrase",
        "mask",
        "of the image",
        "score",
        "box in pixels",
        "left out because of",
    )
    yield from table(columns, rows[:_MOST_PHRASES])
