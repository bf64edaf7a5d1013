"""The card of a data set, through the tasks that write and draw it."""

import asyncio
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from data_schemas.configs.curate_config import CurateConfig, ImageFolderSource
from data_schemas.manifest import Manifest
from data_schemas.records import GROUNDED_SCHEMA, GroundedCaption
from data_schemas.rejections import Rejection, RejectionReason
from tasks.describe_dataset import describe_dataset
from tasks.draw_dataset_card import CuratedSet, draw_dataset_card
from tasks.prepare_source import Source
from tasks.stage import Input, open_store
from tasks.write_shards import write_shards
from tests.conftest import ROOT
from tests.tokencompose_core.reports.grounded_rows import phrase, sample, two_captions
from tokencompose_core.store.keys import make_key
from tokencompose_core.store.rejections import write_rejections
from tokencompose_core.store.tables import write_table

pytestmark = pytest.mark.usefixtures("prefect_server")

HOSTILE = "<script>alert('1')</script> & \"a cat\" ]]> <!-- {{ 7 * 7 }} $x_1$ 猫 😀 \u202e \x00 dog"


@flow
def card_of(images_dir: str, grounded: list[Input], config: CurateConfig) -> CuratedSet:
    files = ImageFolderSource(kind="image_folder", images_dir=images_dir)
    source = Source(files=files, images_dir=images_dir, image_limits=files.image_limits, digest="")
    dataset = describe_dataset(write_shards(source, grounded, config), config)
    return draw_dataset_card(dataset, grounded, config.caption_set, config.card)


class Page(HTMLParser):
    """Elements, attributes and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href")]
        assert not any(name.startswith("on") for name, _ in attrs)

    def handle_data(self, data):
        self.text += data


class Card:
    """What the stage left in the store."""

    def __init__(self, result: CuratedSet) -> None:
        self.folder = Path(result.report_path).parent
        self.dataset = result.dataset
        self.html = Path(result.report_path).read_text("utf-8")
        self.page = Page(self.html)
        self.numbers = json.loads((self.folder / "figures.json").read_text("utf-8"))
        self.manifest = Manifest.model_validate_json((self.folder / "manifest.json").read_text())


@pytest.fixture
def draw(tmp_path, store_dir) -> Callable[..., Card]:
    (tmp_path / "images").mkdir()

    def run(parts: list[list[GroundedCaption]], lost: list[Rejection] = (), **card) -> Card:
        grounded = []
        for number, rows in enumerate(parts):

            def write(folder, rows=rows, number=number):
                write_table(folder / "grounded.parquet", rows, GROUNDED_SCHEMA)
                rejected = write_rejections(folder, list(lost) if number == 0 else [])
                return {"num_in": len(rows), "num_out": len(rows), "rejected": rejected}

            content = [row.model_dump_json() for row in (*rows, *(lost if number == 0 else []))]
            key = make_key("mask", 0, {"content": content})
            manifest = open_store().publish(key, "mask", write)
            grounded.append(Input.of(manifest, "grounded.parquet"))
        config = CurateConfig.load(caption_set="mine", card=card)
        return Card(card_of(str(tmp_path / "images"), grounded, config))

    return run


def test_page_shows_figures_samples_and_what_was_left_out(tmp_path, draw):
    lost = [
        Rejection(key=f"k{i}", stage="mask", reason=RejectionReason.NO_BOX, detail=f"lost {i}")
        for i in range(5)
    ]
    rows = two_captions(tmp_path / "images")
    card = draw([rows[:1], rows[1:]], lost)
    assert card.numbers["figures"]["noun phrases a caption"] == 2.5
    assert card.numbers["published"]["noun phrases a caption"] == 3.35
    assert card.numbers["stages"] == [
        {"stage": "mask", "num_in": 2, "num_out": 2, "rejected": {"no-box": 5}}
    ]
    assert card.manifest.facts["grounded share"] == 0.8
    # 2 charts, 2 samples, and of 4 scored phrases the 2 lowest and the 2 highest.
    assert card.page.tags.count("img") == 2 + 2 + 4
    assert all(source.startswith("data:image/") for source in card.page.sources)
    words = " ".join(card.page.text.split())
    for expected in ("80.0 %", "90.0 %", "A cat and something.", "score 0.75, 50.0 % of the image"):
        assert expected in words
    assert "lost 2" in words
    assert "lost 3" not in words
    assert re.search(r'<b class="bare">something</b>', card.html)
    assert re.search(r'<b style="color: #[0-9a-f]{6}">cat</b>', card.html)


def test_hostile_texts_are_shown_as_text(tmp_path, draw):
    images = tmp_path / "images"
    long = "cat " * 5000
    names = [(HOSTILE, "a cat"), (HOSTILE, HOSTILE[:27]), (HOSTILE, "$x_1$ 猫"), (long, "cat")]
    rows = [
        sample(images, f"k{number}", text, [phrase(text, noun, (0, 0, 9, 9), 0.5)])
        for number, (text, noun) in enumerate(names)
    ]
    lost = [
        Rejection(key="<img src=x>", stage="mask", reason=RejectionReason.NO_BOX, detail=HOSTILE)
    ]
    card = draw([rows], lost, least_occurrences=1)
    assert "script" not in card.page.tags
    assert card.page.tags.count("img") == 2 + 4 + 4
    assert card.page.text.count("<script>alert('1')</script>") >= 3
    assert "{{ 7 * 7 }} $x_1$ 猫 😀" in card.page.text
    assert "\x00" not in card.html
    assert "cat " * 200 not in card.page.text


def test_set_without_scores_boxes_or_rejections(tmp_path, draw):
    images = tmp_path / "images"
    rows = [
        sample(images, key, "A cat.", [phrase("A cat.", "cat", (0, 0, 20, 20))]) for key in "ab"
    ]
    card = draw([rows])
    assert card.numbers["figures"]["mean score"] is None
    assert "mean score" not in card.manifest.facts
    words = " ".join(card.page.text.split())
    assert "Fewer than two phrases have a score" in words
    assert "cat: 50.0 % of the image" in words
    assert words.endswith("Nothing.")
    assert card.page.tags.count("img") == 2 + 2


def test_set_without_samples(draw):
    card = draw([[]])
    assert card.numbers["figures"]["captions"] == 0
    assert card.page.tags.count("img") == 2


def test_tiny_and_huge_images(tmp_path, draw):
    images = tmp_path / "images"
    sizes = [(1, 1), (3, 5000), (6000, 4000)]
    rows = [
        sample(images, f"k{n}", "A cat.", [phrase("A cat.", "cat", (0, 0, 1, 1), 0.5, size)], size)
        for n, size in enumerate(sizes)
    ]
    card = draw([rows])
    assert card.page.tags.count("img") == 2 + 3 + 2
    assert len(card.html) < 400_000
    assert card.numbers["figures"]["share of masks below 1 % of the image"] == pytest.approx(2 / 3)


def test_equal_sets_give_equal_bytes_and_a_second_run_draws_nothing(
    tmp_path, draw, monkeypatch, capsys
):
    parts = [two_captions(tmp_path / "images")]
    first = draw(parts)
    capsys.readouterr()
    draw(parts)
    assert re.search(r"^card +1 Cached", capsys.readouterr().out, re.MULTILINE)
    monkeypatch.setenv("TOKENCOMPOSE_STORE", str(tmp_path / "other"))
    again = draw(parts)
    assert again.folder != first.folder
    assert again.manifest.digest == first.manifest.digest
    other = draw(parts, seed=2, num_samples=1)
    assert other.dataset == first.dataset
    assert other.manifest.key != first.manifest.key
    assert other.page.tags.count("img") == 2 + 1 + 4


def test_card_of_the_ui_is_small_and_names_the_page(tmp_path, draw):
    images = tmp_path / "images"
    rows = []
    for number in range(40):
        size = (400, 300)
        rows.append(
            sample(
                images,
                f"k{number}",
                HOSTILE,
                [phrase(HOSTILE, "dog", (9, 9, 99, 99), 0.5, size)],
                size,
            )
        )
    card = draw([rows])

    async def read() -> list[str]:
        async with get_client() as client:
            found = await client.read_artifacts(
                artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=["card-mine"]))
            )
            return [artifact.data for artifact in found]

    shown = [text for text in asyncio.run(read()) if str(card.folder) in text]
    assert shown
    for text in shown:
        assert len(text.encode()) < 200_000
        assert text.count("data:image/") == 2
        assert "<script>" not in text


def examples(path: str) -> list[str]:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / path).read_text("utf-8"), re.DOTALL)
    return [block for block in blocks if "dataset.json" in block]


READ = """a (40, 20) A cat and something.
b (40, 20) The Cat, a dog, a kite.
c (40, 20) A dog, a cat.
"""


@pytest.mark.parametrize(
    ("path", "number", "expected"),
    [
        ("README.md", 0, READ),
        ("data_schemas/SHARDS.md", 0, READ),
        # The cat of the first caption scores high enough; the second has a "Cat".
        ("data_schemas/SHARDS.md", 1, "[{'key': 'c', 'mask': '1.png', 'mask_share': 0.25}]\n"),
    ],
)
def test_examples_of_the_documents_run(tmp_path, draw, monkeypatch, capsys, path, number, expected):
    images = tmp_path / "images"
    caption = "A dog, a cat."
    phrases = [phrase(caption, "dog"), phrase(caption, "cat", (0, 0, 20, 10), 0.3)]
    rows = [*two_captions(images, ".jpg"), sample(images, "c", caption, phrases)]
    card = draw([rows[:2], rows[2:]])
    (tmp_path / ".tokencompose").symlink_to(tmp_path / "store")
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    exec(examples(path)[number].replace("dataset-v1-<key>", card.dataset), {})
    assert capsys.readouterr().out == expected
