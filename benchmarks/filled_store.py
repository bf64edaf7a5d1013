"""A large caption set of the pocket world, and the entries of its stages without their models.

Captions are of the pocket world's own sentence maker, one an image; images are tiny PNG files.
Entries are published under the keys that their specs have, with tables of the real shapes, so that
`plan` finds them. Besides, masks and shards of another threshold are there that were made two
months ago, and that nothing refers to.
"""

import io
import json
import random
import tarfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

from benchmarks.scale import draw_images, image_name

OTHER_THRESHOLD = 0.4


def write_set(folder: Path, num_rows: int) -> None:
    """Draw images, and write a caption for each in random order."""
    draw_images(folder / "images", num_rows)
    order = list(range(num_rows))
    random.Random(num_rows).shuffle(order)
    with (folder / "captions.jsonl").open("w") as stream:
        for number in order:
            row = {"img_path": image_name(number), "caption": sentence_of(number).text}
            stream.write(json.dumps(row) + "\n")


def sentence_of(number: int) -> Any:
    """The caption of an image, with its tags."""
    from tokencompose_core.pocket.scenes import sample_scene, sample_varied_names
    from tokencompose_core.pocket.sentences import write_sentence

    rng = random.Random(number)
    return write_sentence(rng, sample_scene(rng, sample_varied_names(rng), width=160, height=128))


def config_of(folder: str, partition_size: int, **mask: Any) -> Any:
    """What `curate` is given."""
    from data_schemas.configs.curate_config import CurateConfig

    return CurateConfig.load(
        caption_set="large",
        source={
            "kind": "json",
            "paths": [f"{folder}/captions.jsonl"],
            "images_dir": f"{folder}/images",
        },
        select={"partition_size": partition_size},
        mask=mask,
    )


def publish_stages(source: Any, parts: Sequence[Any], config: Any) -> None:
    """Publish the entries of every partition and the data set, without a model."""
    from data_schemas.records import SelectedImage
    from tasks.describe_dataset import DatasetSpec
    from tasks.mask_nouns import GROUNDED_NAME, MaskSpec
    from tasks.parse_nouns import PARSED_NAME, ParseSpec
    from tasks.rank_captions import RANKED_NAME, RankSpec
    from tasks.stage import Input, open_store
    from tasks.write_shards import ShardSpec
    from tokencompose_core.store.tables import read_table

    store, now = open_store(), datetime.now(UTC)
    common = {"device": "cpu"}
    other = config.mask.model_copy(update={"box_threshold": OTHER_THRESHOLD})
    shards = []
    for number, selected in enumerate(parts):
        rows = read_table(selected.path(store), SelectedImage)
        part, images = f"part-{number:05d}", source.images_dir
        ranked = RankSpec(images_dir=images, selected=selected, settings=config.rank, **common)
        rank = publish(ranked, selected, now, rank_writer(rows))
        parsed = ParseSpec(
            ranked=Input.of(rank, RANKED_NAME), part=part, settings=config.parse, **common
        )
        parse = publish(parsed, parsed.ranked, now, parse_writer(rows))
        for settings, made in ((other, now - timedelta(days=60)), (config.mask, now)):
            masked = MaskSpec(
                images_dir=images,
                parsed=Input.of(parse, PARSED_NAME),
                part=part,
                settings=settings,
                **common,
            )
            mask = publish(masked, masked.parsed, made, mask_writer(rows, settings.box_threshold))
            packed = ShardSpec(images_dir=images, grounded=Input.of(mask, GROUNDED_NAME), part=part)
            shard = publish(packed, packed.grounded, made, shard_writer(rows, number, settings))
        shards.append(Input.of(shard))
    whole = DatasetSpec(shards=shards)

    def describe(target: Path) -> dict[str, Any]:
        (target / "dataset.json").write_text(json.dumps({"shards": [s.key for s in shards]}))
        return {"num_in": len(shards), "num_out": len(shards)}

    publish(whole, None, now, describe, {shard.key: shard.digest for shard in shards})


def publish(
    spec: Any,
    source: Any,
    made: datetime,
    write: Callable[[Path], dict[str, Any]],
    inputs: dict[str, str] | None = None,
) -> Any:
    """Publish under a spec's key, as its task would."""
    from tasks.earlier_rows import questions_of
    from tasks.stage import open_store
    from tokencompose_core.store.earlier_rows import TakenRows

    store = open_store()

    def write_all(folder: Path) -> dict[str, Any]:
        described = write(folder)
        if spec.row_table is not None:
            questions = questions_of(store, spec)
            TakenRows(questions).write_questions(folder, questions)
        return described

    found = store.find(spec.key, "size")  # of a filling that was interrupted
    return found or store.publish(
        spec.key,
        spec.stage,
        write_all,
        inputs=inputs or {source.key: source.digest},
        parts=spec.parts(),
        provenance={"created": made.isoformat(), **versions()},
    )


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Versions of packages, as tasks record them."""
    from importlib.metadata import version

    from tasks.stage import PACKAGES

    return {name: version(name) for name in PACKAGES}


def rank_writer(rows: Sequence[Any]) -> Callable[[Path], dict[str, Any]]:
    """Writes a table of ranked images."""
    from data_schemas.records import RANKED_SCHEMA, RankedImage

    records = [
        RankedImage(**row.model_dump(), width=32, height=32, caption=row.captions[0], scores=[0.25])
        for row in rows
    ]
    return table_writer("ranked.parquet", records, RANKED_SCHEMA)


def parse_writer(rows: Sequence[Any]) -> Callable[[Path], dict[str, Any]]:
    """Writes a table of captions with the nouns that the sentence maker put there."""
    from data_schemas.records import PARSED_SCHEMA, ParsedCaption

    records = [ParsedCaption(**shared(row), phrases=phrases_of(row)) for row in rows]
    return table_writer("parsed.parquet", records, PARSED_SCHEMA)


def mask_writer(rows: Sequence[Any], score: float) -> Callable[[Path], dict[str, Any]]:
    """Writes a table of captions with a mask for each noun."""
    from data_schemas.records import GROUNDED_SCHEMA, GroundedCaption, GroundedPhrase

    found = {"boxes": [[1.0, 2.0, 30.0, 31.0]], "scores": [score], "mask_counts": "Pb03m0"}
    records = [
        GroundedCaption(
            **shared(row),
            phrases=[GroundedPhrase(**p.model_dump(), **found) for p in phrases_of(row)],
        )
        for row in rows
    ]
    return table_writer("grounded.parquet", records, GROUNDED_SCHEMA)


def shard_writer(
    rows: Sequence[Any], number: int, settings: Any
) -> Callable[[Path], dict[str, Any]]:
    """Writes a tar with a caption for each sample."""

    def write(folder: Path) -> dict[str, Any]:
        with tarfile.open(folder / "shard.tar", "w") as tar:
            for row in rows:
                content = f"{number} {settings.box_threshold} {row.captions[0]}".encode()
                member = tarfile.TarInfo(f"{row.key}.txt")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
        return {"num_in": len(rows), "num_out": len(rows)}

    return write


def table_writer(
    name: str, records: Sequence[Any], schema: Any
) -> Callable[[Path], dict[str, Any]]:
    """Writes a table, and that nothing was left out."""
    from tokencompose_core.store.rejections import write_rejections
    from tokencompose_core.store.tables import write_table

    def write(folder: Path) -> dict[str, Any]:
        write_table(folder / name, records, schema)
        rejected = write_rejections(folder, [])
        return {"num_in": len(records), "num_out": len(records), "rejected": rejected}

    return write


def shared(row: Any) -> dict[str, Any]:
    """What rows behind the ranking have in common."""
    own = row.model_dump(exclude={"captions"})
    return {**own, "width": 32, "height": 32, "caption": row.captions[0]}


def phrases_of(row: Any) -> list[Any]:
    """The nouns of a row's caption."""
    return nouns_of(int(Path(row.image_path).stem))


@lru_cache(maxsize=4096)
def nouns_of(number: int) -> list[Any]:
    """The nouns of a caption by the tags of the sentence maker."""
    from data_schemas.records import NounPhrase

    sentence = sentence_of(number)
    caption, phrases, start = sentence.text, [], 0
    for word, tag in sentence.words:
        start = caption.index(word, start)
        if tag.startswith("NN"):
            phrases.append(NounPhrase(text=word, start=start, end=start + len(word)))
        start += len(word)
    return phrases
