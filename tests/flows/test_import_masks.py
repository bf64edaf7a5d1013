"""The flow `import-masks` on a set as TokenCompose released it."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imsave
from PIL import Image
from prefect import flow
from prefect.settings import PREFECT_LOCAL_STORAGE_PATH, temporary_settings

from data_schemas.configs.finetune_config import FinetuneConfig
from data_schemas.configs.import_masks_config import ImportMasksConfig
from data_schemas.manifest import Manifest
from data_schemas.records import IndexedCaption
from data_schemas.rejections import PHRASE_REASONS, Rejection
from flows.import_masks import import_masks
from tasks.describe_dataset import read_dataset
from tasks.encode_latents import encode_latents
from tasks.progress import STOP
from tasks.stage import Input
from tasks.task_runner import ONE_AT_A_TIME
from tests.released_set import ReleasedSet, write_released_set
from tests.tiny_models import write_model
from tokencompose_core.shards.read_shard import GroundedSample, read_shard
from tokencompose_core.shards.write_shard import INDEX_NAME, SHARD_NAME
from tokencompose_core.store.content_store import Store
from tokencompose_core.store.rejections import REJECTIONS_NAME
from tokencompose_core.store.tables import read_table
from tokencompose_core.training.encode_shard import read_encoded

LINE = re.compile(r"^(\w+) +((?:\d+ \w+(?:, )?)+) +\d+ in +\d+ out", re.MULTILINE)

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture(scope="module")
def released(tmp_path_factory) -> ReleasedSet:
    return write_released_set(tmp_path_factory.mktemp("released"))


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Iterator[Store]:
    folder = tmp_path_factory.mktemp("import")
    with (
        pytest.MonkeyPatch.context() as patch,
        temporary_settings({PREFECT_LOCAL_STORAGE_PATH: str(folder / "results")}),
    ):
        patch.setenv("TOKENCOMPOSE_STORE", str(folder / "store"))
        yield Store(str(folder / "store"), check="digest")


@pytest.fixture(scope="module")
def dataset(released, store) -> str:
    return import_masks(ImportMasksConfig(**released.config)).dataset


def manifests(store: Store, stage: str) -> list[Manifest]:
    paths = Path(store.root).glob(f"{stage}-v*/manifest.json")
    return [Manifest.model_validate_json(path.read_text()) for path in paths]


def rejections(store: Store) -> list[Rejection]:
    paths = Path(store.root).glob(f"*/{REJECTIONS_NAME}")
    return [rejection for path in paths for rejection in read_table(path, Rejection)]


def shards(store: Store, dataset: str) -> list[Path]:
    listed = Manifest.model_validate(store.find(dataset)).inputs
    return [store.path(store.find(key)) for key in listed]


def samples(store: Store, dataset: str) -> dict[str, GroundedSample]:
    found = [s for folder in shards(store, dataset) for s in read_shard(folder / SHARD_NAME)]
    assert len({sample.key for sample in found}) == len(found)
    return {sample.key: sample for sample in found}


def states(text: str) -> dict[str, str]:
    """What a run printed of each stage."""
    return {match[1]: match[2].strip() for match in LINE.finditer(text)}


def test_masks_of_all_shards_are_those_of_the_source(released, store, dataset):
    assert len(shards(store, dataset)) >= 3
    found = samples(store, dataset)
    assert found.keys() == released.masks.keys()
    captions = {
        row["file_name"]: row["text"]
        for row in reversed(released.metadata)
        if not isinstance(row, str)
    }
    for key, sample in found.items():
        truth = released.masks[key]
        assert sample.caption == captions[f"{key}.jpg"]
        assert [start for start, _ in sample.spans] == sorted(truth)
        for (start, _), mask in zip(sample.spans, sample.masks, strict=True):
            assert np.array_equal(mask, truth[start]), (key, start)
    wine = found["wine"]
    assert [wine.caption[a:b] for a, b in wine.spans] == ["wine glass", "wine", "cup"]


def test_everything_that_is_left_out_has_its_reason(released, store, dataset):
    found = rejections(store)
    assert len(found) == len(released.rejected)
    for key, reason, start in released.rejected:
        own = [r for r in found if (r.key, str(r.reason)) == (key, reason)]
        assert any(r.detail.startswith(start) for r in own), (key, reason, own)
    num_out = 0
    for stage in ("import", "shard"):
        made = manifests(store, stage)
        lost = sum(
            count
            for manifest in made
            for reason, count in manifest.rejected.items()
            if reason not in PHRASE_REASONS
        )
        num_out = sum(manifest.num_out for manifest in made)
        assert sum(manifest.num_in for manifest in made) == num_out + lost
    assert num_out == len(released.masks)


def test_defects_of_the_release_are_counted(store, dataset):
    total = Counter()
    for manifest in manifests(store, "import"):
        total.update(manifest.facts)
        assert "sheet.jpg" in manifest.names()
    assert total["black_masks"] == 1
    assert total["nouns_listed_again"] == 2
    assert total["masks_of_two_nouns"] == 1
    assert total["phrases_with_mask"] == sum(
        len(sample.masks) for sample in samples(store, dataset).values()
    )


def test_index_has_the_tight_box_of_each_mask_and_no_score(released, store, dataset):
    rows = [
        row
        for folder in shards(store, dataset)
        for row in read_table(folder / INDEX_NAME, IndexedCaption)
    ]
    assert len(rows) == len(released.masks)
    for row in rows:
        with Image.open(released.metadata_path.parent / row.image_path) as image:
            assert (row.width, row.height) == image.size
        for phrase in row.phrases:
            assert row.caption[phrase.start : phrase.end] == phrase.text
            assert phrase.scores == []
            truth = released.masks[row.key].get(phrase.start)
            if truth is None:
                assert (phrase.boxes, phrase.mask_counts) == ([], "")
            else:
                y, x = np.nonzero(truth)
                assert phrase.boxes == [[x.min(), y.min(), x.max() + 1, y.max() + 1]]
    bare = {row.key: [p.text for p in row.phrases if not p.mask_counts] for row in rows}
    assert bare["null"] == ["kite"]
    assert bare["absent"] == []


def test_second_run_computes_nothing(released, store, dataset, capsys):
    capsys.readouterr()
    STOP.set()  # as an interrupted flow leaves it behind in a process
    assert import_masks(ImportMasksConfig(**released.config)).dataset == dataset
    made = states(capsys.readouterr().out)
    assert list(made) == ["select", "import", "shard", "dataset", "card"]
    assert all(re.fullmatch(r"\d+ Cached", state) for state in made.values()), made


def test_one_changed_mask_redoes_its_partition_only(released, store, dataset, capsys):
    count = len(shards(store, dataset))
    changed = ~released.masks["000000000005"][2]
    path = released.masks_dir / "000000000005/mask_000000000005_cat.png"
    content = path.read_bytes()
    imsave(path, changed, cmap="gray")
    capsys.readouterr()
    try:
        other = import_masks(ImportMasksConfig(**released.config)).dataset
    finally:
        path.write_bytes(content)
    made = states(capsys.readouterr().out)
    assert made["select"] == "1 Cached"
    assert made["import"] == made["shard"] == f"{count - 1} Cached, 1 Completed"
    assert np.array_equal(samples(store, other)["000000000005"].masks[0], changed)


def test_black_masks_may_stand_for_nothing(released, store, dataset):
    other = import_masks(ImportMasksConfig(**released.config, black_masks="none")).dataset
    found = samples(store, other)["black"]
    assert [found.caption[a:b] for a, b in found.spans] == ["cat"]
    black = "room: seg/black/mask_black_room.png is black"
    assert [r.detail for r in rejections(store) if r.key == "black"] == [black]


def test_training_takes_the_shards(released, store, dataset, tmp_path):
    config = FinetuneConfig.load(
        base_model=str(write_model(tmp_path / "sd1", "sd1")),
        resolution=32,
        encode_batch_size=8,
        validation_prompts=[],
    )

    @flow(task_runner=ONE_AT_A_TIME)
    def encode() -> list[Input]:
        return encode_latents(read_dataset(dataset), config)

    encoded = read_encoded([part.path(store) for part in encode()])
    kept = dict(zip(encoded.keys, encoded.positions, strict=True))
    assert kept.keys() == released.masks.keys()
    # "A cat in a room.": the room's mask was written black and covers everything.
    assert kept["black"][-1] == [5]
    assert all(grid[_row(encoded, "black") + 1].all() for grid in encoded.grids.values())


def _row(encoded, key: str) -> int:
    return sum(len(encoded.positions[n]) for n in range(encoded.keys.index(key)))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"masks_dir": "no/seg"}, FileNotFoundError, "masks_dir: the folder no/seg is not there"),
        ({"metadata_path": "no.jsonl"}, FileNotFoundError, r"metadata_path: no\.jsonl is not"),
    ],
)
def test_what_is_not_there_is_named(released, store_dir, changes, error, message):
    with pytest.raises(error, match=message):
        import_masks(ImportMasksConfig(**(released.config | changes)))


def test_masks_in_another_place_fail_as_too_many_rejections(released, store_dir):
    config = released.config | {"masks_dir": str(released.root)}
    with pytest.raises(Exception, match=r"(?s)import: .* no-mask,.*\n  mask-missing  "):
        import_masks(ImportMasksConfig(**config))
    # No limit makes a data set of what is left, which is nothing.
    with pytest.raises(Exception, match=r"import: (\d+) of \1 samples .* so that none is left"):
        import_masks(ImportMasksConfig(**config | {"max_rejected_fraction": 1.0}))
    assert not list(store_dir.glob("dataset-*"))
