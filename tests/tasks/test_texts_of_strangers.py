"""Texts of strangers in cards and pages, as a real browser shows them: nothing runs."""

import html
import json
import shutil

import pytest
from markdown_it import MarkdownIt
from PIL import Image

from data_schemas.configs.operate_config import VerifyConfig
from data_schemas.manifest import Manifest, StageTotals
from data_schemas.rejections import Rejection, RejectionReason
from tasks.cards import stage_card
from tasks.markdown import plain_text
from tasks.stage import Outcome
from tasks.verify_store import health_card, verify_store
from tests.tokencompose_core.store.hand_made_store import publish
from tokencompose_core.reports.caption_pieces import Piece
from tokencompose_core.reports.dataset_figures import DatasetFigures, Noun
from tokencompose_core.reports.dataset_page import (
    Chip,
    DatasetPage,
    ShownPhrase,
    ShownSample,
    render_dataset_page,
)
from tokencompose_core.reports.left_out import LeftOut
from tokencompose_core.reports.page import (
    Chart,
    Grid,
    Picture,
    Row,
    Section,
    Table,
    render_page,
)
from tokencompose_core.store.content_store import Store

RUN = "document.title='RAN'"
TEXTS = {
    "script": f"<script>{RUN}</script>",
    "image": f'"><img src=x onerror="{RUN}">',
    "quote": f"' onmouseover='{RUN}' x='",
    "svg": f"<svg onload={RUN}>",
    "comment": f"--><script>{RUN}</script>",
    "title": f"</title></style></script><script>{RUN}</script>",
    "link": f"[click](javascript:{RUN})",
    "autolink": f"<javascript:{RUN}> https://example.org www.example.org a@example.org",
    "picture": f'![x](x "onerror={RUN}")',
    "reference": "[a]: javascript:alert(1)\n[a]",
    "table": "a | b |\n|---|---|\n| c",
    "code": "`` `code` ``` ~~~",
    "heading": "# heading\n\n> quote\n\n- item\n\n1. one",
    "emphasis": "**bold** __bold__ ~~gone~~ *a* _b_",
    "entity": f"&lt;script&gt;{RUN}&lt;/script&gt; &#60;b&#62;",
    "mermaid": f"```mermaid\ngraph TD; a-->b[<img src=x onerror={RUN}>]\n```",
    "template": "{{ 7 * 7 }} {% raw %} ${7 * 7}",
    "null": f"a\0b<\0script>{RUN}</script>",
    "direction": "\u202egnp.exe\u202c \u2066a\u2069 \u200f",
    "long": "<b>" * 5000,
}


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("needs chromium")
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield running
        running.close()


def opened(browser, page, tmp_path):
    """The page in a browser, what it asked for, and what its title became."""
    path = tmp_path / "page.html"
    path.write_text(page, "utf-8")
    tab = browser.new_page()
    asked = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(path.as_uri())
    for element in tab.query_selector_all("a")[:3]:
        element.click(no_wait_after=True)
    tab.wait_for_timeout(50)
    title = tab.title()
    text = tab.inner_text("body")
    elements = tab.evaluate(
        "[...document.querySelectorAll('script, iframe, svg, object, [onerror], [onmouseover]')]"
        ".length"
    )
    tab.close()
    others = [url for url in asked if not url.startswith((f"{path.as_uri()}", "data:", "about:"))]
    return title, text, elements, others


def evaluation_page(text):
    picture = Picture(url="data:image/png;base64,AAAA", note=text)
    parts = [
        Table(title=text, columns=[text], rows=[Row(cells=[text])], notes=[text]),
        Chart(labels=[text], rows=[(text, [50.0])]),
        Grid(columns=[text], rows=[(text, [picture])]),
    ]
    return render_page(text, [text], [Section(title=text, parts=parts, foot=text)])


def dataset_page(text):
    image = Image.new("RGB", (8, 8))
    phrase = ShownPhrase(key=text, text=text, score=0.5, picture=image)
    pieces = [(Piece(text, kind), "red") for kind in ("between", "grounded", "bare")]
    rejection = Rejection(
        key=text, stage="select", reason=RejectionReason.CAPTION_EMPTY, detail=text
    )
    page = DatasetPage(
        title=text,
        dataset=text,
        figures=DatasetFigures({}, *[{} for _ in range(3)], [], [], []),
        charts=("data:,", "data:,"),
        best=[Noun(text, 1, 1)],
        worst=[Noun(text, 1, 0)],
        least_occurrences=1,
        samples=[ShownSample(text, image, pieces, [Chip(text, text, "red")], 0)],
        highest=[phrase],
        lowest=[phrase],
        stages=[StageTotals(stage="select", num_in=1, num_out=0, rejected={})],
        left_out=[LeftOut("select", "caption-empty", 1, True, [rejection])],
    )
    return render_dataset_page(page)


def card(text, store_dir):
    manifest = Manifest(stage="x", key="x-v1-0", digest="0" * 64, files=(), facts={text: text})
    return stage_card([Outcome(manifest, "Completed")])


@pytest.mark.parametrize("kind", TEXTS)
def test_card_shows_a_text_and_does_nothing_else(kind, store_dir):
    rendered, harmless = (
        MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(card(text, store_dir))
        for text in (TEXTS[kind], "harmless")
    )
    assert rendered.count("<") == harmless.count("<")
    cells = rendered.partition("<th>figure</th>")[2].partition("</table>")[0]
    assert cells.count("<td>") == 2
    shown = html.unescape(cells.partition("<td>")[2].partition("</td>")[0])
    if kind not in ("null", "direction", "long") and "\n" not in TEXTS[kind]:
        assert shown.strip() == TEXTS[kind].strip()
    assert len(shown) <= 210


@pytest.mark.parametrize("kind", TEXTS)
def test_card_of_verify_shows_names_of_files_and_does_nothing_else(kind, store_dir):
    def rendered(name):
        store = Store(str(store_dir))
        manifest = publish(store, "a")
        path = store_dir / manifest.key / "manifest.json"
        written = json.loads(path.read_text())
        file = {"name": name, "num_bytes": 1, "sha256": "0" * 64}
        path.write_text(json.dumps(written | {"files": [file], "inputs": {name: "0" * 64}}))
        health = verify_store(VerifyConfig())
        path.unlink()
        assert name in health.broken[manifest.key] or "no plain name" in str(health.broken)
        card = health_card(health)
        return MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(card)

    shown, harmless = rendered(TEXTS[kind]), rendered("harmless")
    assert shown.count("<") == harmless.count("<")


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("page", [evaluation_page, dataset_page])
def test_no_page_runs_what_a_caption_says(browser, tmp_path, page, kind):
    title, shown, elements, asked = opened(browser, page(TEXTS[kind]), tmp_path)
    assert title != "RAN"
    assert elements == 0
    assert asked == []
    if kind in ("script", "link", "template"):
        assert TEXTS[kind] in shown


@pytest.mark.parametrize("kind", TEXTS)
def test_no_card_runs_what_a_caption_says(browser, tmp_path, store_dir, kind):
    rendered = MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(
        card(TEXTS[kind], store_dir)
    )
    title, _, elements, asked = opened(browser, f"<body>{rendered}</body>", tmp_path)
    assert (title, elements, asked) == ("", 0, []) or title.endswith("page.html")
    assert elements == 0
    assert asked == []


@pytest.mark.parametrize("kind", ["script", "image", "svg"])
def test_browser_would_run_it(browser, tmp_path, kind):
    assert opened(browser, f"<body>{TEXTS[kind]}</body>", tmp_path)[0] == "RAN"


def test_plain_text_is_cut_and_has_no_marks():
    assert plain_text("A cat, 7 % of it; a dog") == "A cat, 7 % of it; a dog"
    assert plain_text("x" * 300) == "x" * 200 + "…"
    assert plain_text("\u202ea\u2066b") == "ab"
