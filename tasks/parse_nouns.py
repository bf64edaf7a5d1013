"""Stage `parse`: the nouns of a caption."""

from pathlib import Path
from typing import Any, ClassVar

from prefect import task
from prefect.client.schemas.objects import State

from data_schemas.configs.curate_config import CurateConfig, ParseConfig
from data_schemas.manifest import Manifest
from data_schemas.records import PARSED_SCHEMA, ParsedCaption, RankedImage
from data_schemas.rejections import Rejection, RejectionReason
from tasks.cards import close_stage
from tasks.devices import Device, resolve_device
from tasks.earlier_rows import take_earlier_rows
from tasks.kept_models import keep_last
from tasks.stage import PLANNER, STAGE_OPTIONS, Input, Spec, reuse_or_publish, run_stage
from tokencompose_core.checkpoints.hub_access import is_offline, naming_field, require_in_reach
from tokencompose_core.checkpoints.locate import identity, locate, require_unless_hub
from tokencompose_core.store.content_store import Store
from tokencompose_core.store.earlier_rows import RowTable
from tokencompose_core.store.rejections import write_rejections
from tokencompose_core.store.tables import read_table, write_table

PARSED_NAME = "parsed.parquet"


class ParseSpec(Spec):
    """A partition of captions whose nouns are to be found."""

    stage: ClassVar[str] = "parse"
    version: ClassVar[int] = 2
    row_table: ClassVar[RowTable | None] = RowTable(PARSED_NAME, ("caption",))

    ranked: Input
    part: str
    settings: ParseConfig
    device: Device

    def parts(self) -> dict[str, Any]:
        """The captions, the tagger, the tags that count and the nouns that do not."""
        parts = {
            "ranked": self.ranked.digest,
            "model": identity(self.settings.model),
            "noun_tags": self.settings.noun_tags,
        }
        # Named only if there are any: it was not always a setting.
        if self.settings.stop_nouns:
            parts["stop_nouns"] = sorted(set(self.settings.stop_nouns))
        return parts

    @property
    def title(self) -> str:
        """Stage and partition."""
        return f"parse {self.part}"


def check_tagger(config: CurateConfig) -> None:
    """Look whether the tagger is there, and is one that may be opened, before any model is loaded.

    One of a hub is fetched for that: published ones may hold more than weights. In a plan no hub is
    asked, and nothing is opened.

    Raises:
        FileNotFoundError: If its file or folder is missing, or it is one of a hub, is not on this
            machine, and the hub does not give it or may not be asked.
        ValueError: If its file may run a program while it is opened, see `read_tagger`.
    """
    name, file_name = config.parse.model, "pytorch_model.bin"
    with naming_field("parse.model", name):
        path = require_unless_hub(name, file_name)
    # A plan does not import flair, which alone knows where it keeps its models. The project's own
    # taggers are known to be weights alone.
    if PLANNER.get() is not None or name.startswith("pocket:"):
        return
    from tokencompose_core.nouns.tagger import cache_dir_of, open_tagger

    if path is None and "/" in name and not is_offline():  # others are flair's own names
        repo, _, revision = name.partition("@")
        cache_dir = cache_dir_of(name)
        require_in_reach("parse.model", repo, file_name, revision, cache_dir=cache_dir)
    with naming_field("parse.model", name):
        open_tagger(path or name)


@keep_last
def _tagger(model: str, content: str, device: str):
    """The tagger; its content sees to it that one which has changed is loaded again."""
    from tokencompose_core.nouns.tagger import load_tagger

    return load_tagger(locate(model) or model, device=device)


@task(name="parse-nouns", **STAGE_OPTIONS)
def parse_partition(spec: ParseSpec) -> Manifest | State:
    """Find the noun phrases of every caption with flair.

    Reads: a partition of ranked captions.
    Writes: `parsed.parquet` and `questions.parquet`.
    Rejects: phrases on the stop list; captions without a noun, or without one that is left.
    """

    def write(folder: Path, store: Store) -> dict[str, Any]:
        from tokencompose_core.nouns.stop_nouns import is_stopped
        from tokencompose_core.nouns.tagger import find_noun_phrases

        ranked = read_table(spec.ranked.path(store), RankedImage)
        taken = take_earlier_rows(store, spec, ParsedCaption)
        new = [row for row in ranked if row.key not in taken]
        model = spec.settings.model
        found = (
            find_noun_phrases(
                _tagger(model, identity(model), resolve_device(spec.device)),
                [row.caption for row in new],
                noun_tags=spec.settings.noun_tags,
                batch_size=spec.settings.batch_size,
            )
            if new
            else []
        )
        phrases_of = {row.key: phrases for row, phrases in zip(new, found, strict=True)}
        parsed, rejections = [], []
        for row in ranked:
            if row.key in taken:
                rejections += taken.rejections[row.key]
                if row.key in taken.left_out:
                    continue
                kept = taken.rows[row.key].phrases
            else:
                phrases = phrases_of[row.key]
                kept = [p for p in phrases if not is_stopped(p.text, spec.settings.stop_nouns)]
                rejections += [
                    _rejection(row.key, RejectionReason.PHRASE_ON_STOP_LIST, phrase.text)
                    for phrase in phrases
                    if phrase not in kept
                ]
            if kept:
                shared = row.model_dump(exclude={"captions", "scores"})
                parsed.append(ParsedCaption(**shared, phrases=kept))
            else:
                rejections.append(_rejection(row.key, RejectionReason.NO_NOUN, row.caption))
        write_table(folder / PARSED_NAME, parsed, PARSED_SCHEMA)
        taken.write_questions(folder, {row.key for row in ranked})
        return {
            "num_in": len(ranked),
            "num_out": len(parsed),
            "rejected": write_rejections(folder, rejections),
            "facts": {"phrases": sum(len(row.phrases) for row in parsed), **taken.facts},
        }

    return reuse_or_publish(spec, write, {spec.ranked.key: spec.ranked.digest})


def _rejection(key: str, reason: RejectionReason, detail: str) -> Rejection:
    return Rejection(key=key, stage="parse", reason=reason, detail=detail)


def parse_nouns(ranked: list[Input], config: CurateConfig) -> list[Input]:
    """Find the nouns of every partition."""
    specs = [
        ParseSpec(
            ranked=part, part=f"part-{number:05d}", settings=config.parse, device=config.device
        )
        for number, part in enumerate(ranked)
    ]
    outcomes = run_stage(parse_partition, specs)
    close_stage(outcomes, config.caption_set, config.max_rejected_fraction)
    return [Input.of(outcome.manifest, PARSED_NAME) for outcome in outcomes]
