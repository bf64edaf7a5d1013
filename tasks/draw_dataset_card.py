"""Stage `card`: what a person needs to judge a grounded data set."""

import io
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from prefect import task
from prefect.client.schemas.objects import State
from pydantic import BaseModel, ConfigDict

from data_schemas.configs.curate_config import CardConfig
from data_schemas.manifest import Manifest, StageTotals
from tasks.cards import artifact_key, close_stage
from tasks.describe_dataset import read_dataset
from tasks.links import link_to_card, link_to_output, link_to_report
from tasks.markdown import table
from tasks.progress import Progress
from tasks.stage import PLANNER, STAGE_OPTIONS, Input, Spec, open_store, reuse_or_publish, run_stage
from tasks.write_shards import INDEX_NAME, SHARD_NAME
from tokencompose_core.store.content_store import Store
from tokencompose_core.store.keys import text_digest
from tokencompose_core.store.rejections import REJECTIONS_NAME

REPORT_NAME = "report.html"
OUTPUTS_NAME = "outputs.json"
FIGURES_NAME = "figures.json"
DISTRIBUTIONS_NAME = "distributions.png"
NOUNS_NAME = "nouns.png"
SHEET_NAME = "sheet.jpg"
_NUM_EXAMPLES = 3
_NUM_NOUNS_DRAWN = 30
_NUM_NOUNS_LISTED = 12
# With the distributions beside it, the card stays below what Prefect should keep.
_MOST_SHEET_BYTES = 70_000


class CuratedSet(BaseModel):
    """A data set, the page to judge it by, and the key of what holds the page."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    report_path: str
    card: str = ""


class CardSpec(Spec):
    """A data set to look at.

    Attributes:
        dataset: The data set.
        title_text: Its name.
        stages: What became of the samples, stage by stage.
        outputs: Keys of what the stages made: the lineage of its shards does not tell, since equal
            partitions of an earlier set are taken as they are.
        rejections: Files of rejections with enough examples of every reason.
        settings: What is shown.
        selected: The selection of this run; for its lineage, since an equal data set may have been
            made from another one.
    """

    stage: ClassVar[str] = "card"
    version: ClassVar[int] = 2

    dataset: Input
    title_text: str
    stages: list[StageTotals]
    outputs: list[str]
    rejections: list[Input]
    settings: CardConfig
    selected: tuple[Input, ...] = ()

    def parts(self) -> dict[str, Any]:
        """The data set, how it was made, what was left out of it, and what is shown."""
        return {
            "dataset": self.dataset.digest,
            "title": self.title_text,
            "stages": [totals.model_dump() for totals in self.stages],
            "outputs": text_digest("\n".join(self.outputs)),
            "rejections": [file.digest for file in self.rejections],
            "settings": self.settings.model_dump(),
        }


@task(name="draw-dataset-card", **STAGE_OPTIONS)
def draw_card(spec: CardSpec) -> Manifest | State:
    """Draw what a data set holds, and what was left out of it.

    Reads: the indexes of its shards, of the shards the images that are shown, and rejections.
    Writes: `report.html`, which needs no other file, `figures.json`, charts, `sheet.jpg`, and in
        `outputs.json` the keys of what the stages made.
    """

    def write(folder: Path, store: Store) -> dict[str, Any]:
        from tokencompose_core.reports.contact_sheet import draw_sheet, jpeg_under
        from tokencompose_core.reports.dataset_charts import draw_distributions, draw_nouns
        from tokencompose_core.reports.dataset_figures import (
            grounded_best_and_worst,
            measure_dataset,
        )
        from tokencompose_core.reports.dataset_page import DatasetPage, render_dataset_page
        from tokencompose_core.reports.left_out import find_examples, list_left_out
        from tokencompose_core.reports.page import figure

        settings = spec.settings
        shards = read_dataset(spec.dataset.key)
        indexes = [store.path(_manifest(store, shard.key), INDEX_NAME) for shard in shards]
        figures = measure_dataset(indexes)
        draw_distributions(figures, folder / DISTRIBUTIONS_NAME)
        draw_nouns(figures.nouns[:_NUM_NOUNS_DRAWN], folder / NOUNS_NAME)
        samples, lowest, highest = _show(shards, indexes, settings, store)
        best, worst = grounded_best_and_worst(
            figures, settings.least_occurrences, _NUM_NOUNS_LISTED
        )
        examples = find_examples((file.path(store) for file in spec.rejections), _NUM_EXAMPLES)
        page = DatasetPage(
            title=spec.title_text,
            dataset=spec.dataset.key,
            figures=figures,
            charts=(figure(folder / DISTRIBUTIONS_NAME), figure(folder / NOUNS_NAME)),
            best=best,
            worst=worst,
            least_occurrences=settings.least_occurrences,
            samples=samples,
            highest=highest,
            lowest=lowest,
            stages=spec.stages,
            left_out=list_left_out(spec.stages, examples),
        )
        (folder / REPORT_NAME).write_text(render_dataset_page(page), "utf-8")
        numbers = figures.to_json() | {
            "stages": [totals.model_dump() for totals in spec.stages],
        }
        text = json.dumps(numbers, ensure_ascii=False, indent=1)
        (folder / FIGURES_NAME).write_text(text, "utf-8")
        (folder / OUTPUTS_NAME).write_text(json.dumps(spec.outputs, indent=1), "utf-8")
        sheet = draw_sheet(
            [sample.picture for sample in samples],
            ["".join(piece.text for piece, _ in sample.pieces) for sample in samples],
            columns=4,
            side=200,
            label_lines=3,
        )
        (folder / SHEET_NAME).write_bytes(jpeg_under(sheet, _MOST_SHEET_BYTES))
        num = int(figures.numbers["captions"] or 0)
        facts = {name: value for name, value in figures.numbers.items() if value is not None}
        return {"num_in": num, "num_out": num, "facts": facts}

    inputs = {made.key: made.digest for made in (spec.dataset, *spec.selected)}
    return reuse_or_publish(spec, write, inputs)


def _show(
    shards: Sequence[Input], indexes: Sequence[Path], settings: CardConfig, store: Store
) -> tuple[list, list, list]:
    """Draw the samples of the gallery and the phrases of the lowest and highest scores."""
    from PIL import Image

    from tokencompose_core.reports.dataset_page import show_phrase, show_sample
    from tokencompose_core.reports.pick_samples import extreme_phrases, read_rows, sample_places
    from tokencompose_core.shards.read_shard import read_members

    places = sample_places(indexes, settings.num_samples, settings.seed)
    lowest, highest = extreme_phrases(indexes, settings.num_phrases)
    wanted = {*places, *(phrase.place for phrase in [*lowest, *highest])}
    samples, phrases = {}, {}
    with Progress("card", len(wanted), "images") as progress:
        for number in sorted({place.shard for place in wanted}):
            rows = read_rows(indexes[number], {p.key for p in wanted if p.shard == number})
            shard = store.path(_manifest(store, shards[number].key), SHARD_NAME)
            names = {f"{row.key}.{row.image}" for row in rows.values()}
            images = read_members(shard, names)
            for key, row in rows.items():
                content = images[f"{key}.{row.image}"]
                for place in places:
                    if place.key == key:
                        samples[place] = show_sample(Image.open(io.BytesIO(content)), row)
                for phrase in [*lowest, *highest]:
                    if phrase.place.key == key:
                        image = Image.open(io.BytesIO(content))
                        phrases[phrase] = show_phrase(image, row, phrase.number)
                progress.advance(1)
    return (
        [samples[place] for place in places],
        [phrases[phrase] for phrase in lowest],
        [phrases[phrase] for phrase in highest],
    )


def draw_dataset_card(
    dataset: str, outputs: Sequence[Input], caption_set: str, settings: CardConfig
) -> CuratedSet:
    """Draw a data set, so that a person can judge it.

    Args:
        dataset: Key of the data set.
        outputs: What the stages made from which its shards were written, in their order; what
            they left out is counted and shown.
        caption_set: Name of the set.
        settings: What is shown.

    Returns:
        The data set, and where its page lies; nowhere while a plan is made, since the page is drawn
        from what the stages left out.
    """
    if PLANNER.get() is not None:
        return CuratedSet(dataset=dataset, report_path="")
    store = open_store()
    manifests = [_manifest(store, key) for key in dict.fromkeys(made.key for made in outputs)]
    by_stage: dict[str, list[Manifest]] = {}
    for manifest in manifests:
        by_stage.setdefault(manifest.stage, []).append(manifest)
    stages = [StageTotals.of(own) for own in by_stage.values()]
    spec = CardSpec(
        dataset=Input.of(_manifest(store, dataset)),
        title_text=caption_set,
        stages=stages,
        outputs=[manifest.key for manifest in manifests],
        rejections=_files_with_examples(manifests),
        settings=settings,
        selected=tuple(Input.of(manifest) for manifest in by_stage.get("select", ())),
    )
    outcomes = run_stage(draw_card, [spec])
    manifest = outcomes[0].manifest
    path = store.path(manifest, REPORT_NAME)
    changes = link_to_card(artifact_key("changes", caption_set), "What changed since the last one")
    lines = [link_to_report(manifest, path), f"Data set {link_to_output(dataset)}. {changes}"]
    close_stage(
        outcomes,
        caption_set,
        note="\n\n".join([*lines, _published(), "\n".join(_left_out_table(stages, caption_set))]),
    )
    return CuratedSet(dataset=dataset, report_path=str(path), card=manifest.key)


def _manifest(store: Store, key: str) -> Manifest:
    manifest = store.find(key, "size")  # this run has found or made it
    if manifest is None:
        raise FileNotFoundError(f"{key} is missing from the store or damaged; run the flow again")
    return manifest


def _files_with_examples(manifests: Sequence[Manifest]) -> list[Input]:
    """The first files of rejections that together show every reason of every stage often enough.

    A set of many partitions has far more of them than a task should be told of.
    """
    files, seen = [], Counter[tuple[str, str]]()
    for manifest in manifests:
        counts = {(manifest.stage, reason): n for reason, n in manifest.rejected.items()}
        if any(seen[reason] < _NUM_EXAMPLES for reason in counts):
            files.append(Input.of(manifest, REJECTIONS_NAME))
            seen.update(counts)
    return files


def _published() -> str:
    """What the figures of the card may be compared with."""
    from tokencompose_core.reports.dataset_figures import PUBLISHED

    figures = ", ".join(f"{name} {value:g}" for name, value in PUBLISHED.items())
    return f"The published set has {figures}."


def _left_out_table(stages: Sequence[StageTotals], caption_set: str) -> list[str]:
    """What every stage left out, each with a link to the stage's card."""
    return table(
        ("stage", "in", "out", "left out"),
        [
            (
                link_to_card(artifact_key(totals.stage, caption_set), totals.stage),
                str(totals.num_in),
                str(totals.num_out),
                ", ".join(f"{count} {reason}" for reason, count in totals.rejected.items()),
            )
            for totals in stages
        ],
    )
