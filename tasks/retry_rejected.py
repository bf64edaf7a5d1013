"""Try again what was left out of a caption set, as far as that may mend it."""

from collections.abc import Sequence
from pathlib import Path

from prefect.artifacts import create_markdown_artifact
from pydantic import BaseModel, ConfigDict

from data_schemas.configs.curate_config import CurateConfig
from data_schemas.manifest import Manifest
from data_schemas.records import SelectedImage
from data_schemas.rejections import Rejection, RejectionReason
from tasks.cards import artifact_key
from tasks.curated_sets import find_curated, outputs_of
from tasks.draw_dataset_card import CardSpec, CuratedSet
from tasks.markdown import plain_text
from tasks.prepare_source import Source, joined_path, prepare_source
from tasks.publish_changes import changed_settings
from tasks.rank_captions import RankSpec, rank_specs
from tasks.select_images import SelectSpec
from tasks.stage import Input, open_store
from tokencompose_core.selection.fetch_images import UNUSABLE, forget_unusable
from tokencompose_core.store.content_store import Store
from tokencompose_core.store.history import History
from tokencompose_core.store.left_out import can_be_opened, place_of, read_left_out
from tokencompose_core.store.lineage import trace
from tokencompose_core.store.removal import remove_entries
from tokencompose_core.store.tables import read_table

COLUMNS = ("reason", "before", "tried", "mended", "still", "what a retry does")
_MOST_CHARACTERS = 2000
_FROM_URLS = "asked for again, as every run does"
_LOOKED_AT = "looked at again; a file that changes is noticed by every run"
_OPENED = (
    "looked at again, and asked for again if from a URL; a changed file is noticed by every run"
)
_CAPTIONS = "none: mend the caption file, which every run reads"
_TRIED = {
    RejectionReason.IMAGE_NOT_FETCHED: _FROM_URLS,
    RejectionReason.IMAGE_TIMEOUT: _FROM_URLS,
    RejectionReason.IMAGE_TOO_MANY_BYTES: f"{_FROM_URLS}; the limit is image_limits.max_bytes",
    RejectionReason.IMAGE_MISSING: _LOOKED_AT,
    **dict.fromkeys(UNUSABLE, _OPENED),
}
_NOT_TRIED = {
    RejectionReason.IMAGE_URL_REFUSED: "none: image_limits.url_schemes and private_hosts decide",
    RejectionReason.IMAGE_OUTSIDE_ROOT: "none: mend the caption file, or images_dir",
    RejectionReason.IMAGE_TOO_SMALL: "none: image_limits.min_side decides",
    RejectionReason.IMAGE_TOO_THIN: "none: image_limits.max_ratio decides",
    RejectionReason.IMAGE_TOO_LARGE: "none: image_limits.max_pixels decides",
    RejectionReason.NO_NOUN: "none: parse.model, noun_tags and stop_nouns decide",
    RejectionReason.PHRASE_ON_STOP_LIST: "none: parse.stop_nouns decides",
    RejectionReason.PHRASE_WITHOUT_BOX: "none: the detector and mask.box_threshold decide",
    RejectionReason.NO_BOX: "none: the detector and mask.box_threshold decide",
}
_PASSING = UNUSABLE | {RejectionReason.IMAGE_MISSING}
"""What a disk that failed for a while looks like too; a re-run alone does not look again."""


class Retried(BaseModel):
    """What became of everything that was left out for one reason.

    Attributes:
        reason: The reason.
        before: How much was left out.
        tried: How much of it was tried again.
        mended: How much is not left out any more, by that stage.
        still: How much still is, for this or another reason.
        what: What a retry does about it, or what decides instead.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: str
    before: int
    tried: int
    mended: int
    still: int
    what: str


class RetriedSet(BaseModel):
    """A data set after a retry.

    Attributes:
        dataset: Its key.
        report_path: Its card.
        reasons: What became of what was left out, by reason.
        made_again: How many outputs were forgotten because an image can be used after all.
        compared_with: Key of the data set that left out what was left out before, if there was one.
        settings: In what it was made otherwise, as `mask.box_threshold 0.4 -> 0.25`: what these
            decide is mended, or not, by them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    report_path: str
    reasons: list[Retried]
    made_again: int
    compared_with: str = ""
    settings: list[str] = []


class LeftOut(BaseModel):
    """What was left out before a retry; it grows while the retry looks around.

    Attributes:
        rejections: All of it.
        forgotten: Keys of outputs that are made again.
        card: Key of the card of the data set that left it out; there may be none.
    """

    rejections: list[Rejection]
    forgotten: list[str] = []
    card: str = ""


def find_left_out(config: CurateConfig) -> LeftOut:
    """What the last data set of this name left out; nothing, if there is none."""
    store = open_store()
    cards = [
        card
        for card in History(store).of_stage(CardSpec.stage)
        if card.parts.get("title") == config.caption_set
    ]
    made = trace(store, cards[-1].key, "size") if cards and store.find(cards[-1].key) else []
    return LeftOut(rejections=read_left_out(store, made), card=cards[-1].key if made else "")


def prepare_again(config: CurateConfig, found: LeftOut) -> Source:
    """Prepare the source, with another answer in place of each copy of a URL that is no image.

    No other run asks for them again: a URL stands for one content.

    Args:
        config: The set.
        found: What the last data set left out; what a selection left out is added, as there may
            have been no data set.

    Raises:
        FileNotFoundError: If a file of the set is not there.
        ValueError: If a file as a whole is not what its kind says.
    """
    source = prepare_source(config)
    manifest = open_store().find(SelectSpec(source=source, settings=config.select).key)
    if manifest is not None:
        _note(found, [manifest])
    # Details of such images begin with the file's name.
    lost = [r.detail.partition(":")[0] for r in found.rejections if r.reason in UNUSABLE]
    if not forget_unusable(lost, Path(source.images_dir)):
        return source
    joined_path(source.digest).unlink(missing_ok=True)
    return prepare_source(config)


def forget_selection(source: Source, config: CurateConfig, found: LeftOut) -> None:
    """Have the selection made again if it left images out that may be there after all.

    It reads headers only, and as long as its partitions come out as they were, nothing that was
    made from them is made again. Notes of uses, which name days and not runs, spare nothing here:
    the run that is tried again has noted the same outputs.
    """
    store = open_store()
    manifest = store.find(SelectSpec(source=source, settings=config.select).key)
    if manifest is not None:
        _note(found, [manifest])
        if _PASSING & manifest.rejected.keys():
            found.forgotten += remove_entries(store, [manifest.key])


def forget_ranked(
    source: Source, selected: list[Input], config: CurateConfig, found: LeftOut
) -> None:
    """Have those partitions ranked again of which an image can be decoded now, though not before.

    Their keys say what the image's file holds, which has not changed, so that a re-run alone takes
    them as they are.
    """
    store = open_store()
    for spec in rank_specs(source, selected, config):
        manifest = store.find(spec.key)
        if manifest is None or not _PASSING & manifest.rejected.keys():
            continue
        own = _note(found, [manifest])
        lost = {rejection.key for rejection in own if rejection.reason in _PASSING}
        rows = read_table(spec.selected.path(store), SelectedImage)
        if any(
            can_be_opened(Path(source.images_dir) / row.image_path, row.image_sha256)
            for row in rows
            if row.key in lost
        ):
            found.forgotten += remove_entries(store, [manifest.key])


def publish_retries(
    found: LeftOut,
    source: Source,
    selected: list[Input],
    curated: CuratedSet,
    config: CurateConfig,
) -> RetriedSet:
    """Compare what is left out now with what was, and publish that as one artifact.

    Returns:
        The data set, and what became of each reason.
    """
    store = open_store()
    # Equal tables may have been made from other selections and rankings than those of this run.
    keys = {selected[0].key, *(spec.key for spec in rank_specs(source, selected, config))}
    made = [manifest for key in sorted(keys) if (manifest := store.find(key, "size")) is not None]
    made += [
        manifest
        for manifest in trace(store, curated.dataset, "size")
        if manifest.stage not in (SelectSpec.stage, RankSpec.stage)
    ]
    compared_with, settings = _compare_settings(store, found, curated)
    after = {place_of(rejection) for rejection in read_left_out(store, made)}
    before: dict[RejectionReason, list[bool]] = {}
    for rejection in found.rejections:
        before.setdefault(rejection.reason, []).append(place_of(rejection) in after)
    result = RetriedSet(
        dataset=curated.dataset,
        report_path=curated.report_path,
        reasons=[
            Retried(
                reason=reason,
                before=len(still),
                tried=len(still) if reason in _TRIED else 0,
                mended=len(still) - sum(still),
                still=sum(still),
                what=_TRIED.get(reason) or _NOT_TRIED.get(reason, _CAPTIONS),
            )
            for reason, still in sorted(before.items())
        ],
        made_again=len(found.forgotten),
        compared_with=compared_with,
        settings=settings,
    )
    lines = [
        f"# What was left out of {config.caption_set}, tried again",
        "",
        plain_text(retry_line(result), _MOST_CHARACTERS),
    ]
    lines += ["", f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    lines += [f"| {' | '.join(row)} |" for row in retry_rows(result)]
    create_markdown_artifact(
        key=artifact_key("retry-rejected", config.caption_set),
        markdown="\n".join(lines),
        description=f"retry-rejected: {config.caption_set}",
    )
    return result


def retry_rows(result: RetriedSet) -> list[tuple[str, ...]]:
    """The cells of the table, one row for every reason."""
    return [
        (r.reason, str(r.before), str(r.tried), str(r.mended), str(r.still), r.what)
        for r in result.reasons
    ]


def retry_line(result: RetriedSet) -> str:
    """All of it in one sentence."""
    before = sum(reason.before for reason in result.reasons)
    mended = sum(reason.mended for reason in result.reasons)
    line = (
        f"{before} left out before, {mended} of them mended;"
        f" outputs made again to look at images once more: {result.made_again}"
    )
    if result.settings:
        line += (
            f". Before is {result.compared_with}, which was made with other settings,"
            f" {', '.join(result.settings)}: what these decide was not mended by a retry"
        )
    return line


def _compare_settings(store: Store, found: LeftOut, curated: CuratedSet) -> tuple[str, list[str]]:
    """The data set before, and the settings that differ from it."""
    if not found.card or not curated.card:
        return "", []
    old, new = find_curated(store, found.card), find_curated(store, curated.card)
    changed = changed_settings(outputs_of(store, old), outputs_of(store, new))
    return old.dataset, [f"{name} {was} -> {now}" for name, was, now in changed]


def _note(found: LeftOut, manifests: Sequence[Manifest]) -> list[Rejection]:
    """Add what outputs left out, unless it is known."""
    own = read_left_out(open_store(), manifests)
    known = {place_of(rejection) for rejection in found.rejections}
    found.rejections += [rejection for rejection in own if place_of(rejection) not in known]
    return own
