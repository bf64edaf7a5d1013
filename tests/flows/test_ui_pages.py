"""Cards, reports and links, as a person finds them in a browser."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from data_schemas.manifest import Manifest, StageTotals
from tests.conftest import ROOT
from tests.flows.conftest import Base
from tests.ui_pages import Site, find_chromium, open_browser
from tests.ui_runs import HOSTILE

pytestmark = [
    pytest.mark.timeout(1500),
    pytest.mark.skipif(find_chromium() is None, reason="the UI is not looked at: no Chromium here"),
]
_SECONDS = 240
STAGES = ("select", "rank", "parse", "mask", "shard", "dataset", "card")


@dataclass(frozen=True)
class Served:
    """A Prefect server with some runs, and the reports of their store.

    Attributes:
        url: Where the UI is.
        store: The store.
        runs: Flow runs of `curate`, the earlier first.
    """

    url: str
    store: Path
    runs: list[str]

    @property
    def totals(self) -> dict[str, StageTotals]:
        """What became of the samples of the second run, stage by stage, from the store."""
        cards = [
            Manifest.model_validate_json(path.read_text())
            for path in self.store.glob("card-*/manifest.json")
        ]
        newest = max(cards, key=lambda card: card.provenance["created"])
        found = [StageTotals.model_validate(totals) for totals in newest.parts["stages"]]
        return {totals.stage: totals for totals in found}


def free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


@pytest.fixture(scope="module")
def served(base: Base, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("ui")
    drawn = base.drawn.copy_to(folder / "set")
    port, reports = free_ports()
    own = {
        **{k: v for k, v in os.environ.items() if not k.startswith("PREFECT")},
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_LOCAL_STORAGE_PATH": str(folder / "prefect/storage"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_API_PORT": str(port),
        "TOKENCOMPOSE_STORE": str(drawn.store_dir),
        "TOKENCOMPOSE_REPORTS_PORT": str(reports),
        "TOKENCOMPOSE_REPORTS_URL": f"http://127.0.0.1:{reports}",
        "PYTHONPATH": str(ROOT),
    }
    commands = (["prefect", "server", "start"], ["flows.serve_reports"])
    servers = []
    try:
        for command in commands:
            log = (folder / f"{command[0]}.log").open("w")
            servers.append(
                subprocess.Popen(
                    [sys.executable, "-m", *command], cwd=ROOT, env=own, stdout=log, stderr=log
                )
            )
        end = time.monotonic() + _SECONDS
        while not answers(f"http://127.0.0.1:{port}/api/health"):
            assert time.monotonic() < end, (folder / "prefect.log").read_text()[-2000:]
            time.sleep(0.5)
        ran = subprocess.run(
            [sys.executable, "-m", "tests.ui_runs", str(drawn.folder)],
            cwd=ROOT,
            env=own,
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-4000:]
        runs = json.loads((drawn.folder / "runs.json").read_text())
        yield Served(f"http://127.0.0.1:{port}", drawn.store_dir, runs)
    finally:
        for server in servers:
            server.terminate()
        for server in servers:
            server.wait(timeout=60)


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).is_success
    except httpx.HTTPError:
        return False


@pytest.fixture(scope="module")
def browser():
    with open_browser() as opened:
        yield opened


@pytest.fixture
def site(served: Served, browser) -> Iterator[Site]:
    """A tab; a test fails whose pages have errors in the console, or open a dialog."""
    tab = Site(browser, served.url)
    yield tab
    tab.page.close()
    assert tab.problems == []


def rows(text: str) -> list[str]:
    """Lines of a table as a person reads them."""
    return [re.sub(r"\s*\t\s*", " | ", line.strip()) for line in text.splitlines()]


def test_run_is_found_with_its_state_and_its_cards(site: Site, served: Served):
    page = site.open("/runs")
    page.get_by_text("curate drawn (pocket)").first.click()
    page.wait_for_url(f"**/runs/flow-run/{served.runs[1]}*")
    page.get_by_text("Completed", exact=True).first.wait_for()
    page.get_by_role("tab", name="Artifacts").or_(page.get_by_text("Artifacts")).first.click()
    for stage in (*STAGES, "changes"):
        page.get_by_text(f"{stage}-drawn", exact=True).first.wait_for()


@pytest.mark.parametrize("stage", STAGES)
def test_card_of_each_stage_has_its_counts_and_a_history(site: Site, served: Served, stage: str):
    totals = served.totals.get(stage) or served.totals["mask"]
    num_in = totals.num_in if stage in served.totals else totals.num_out
    text = site.open_card(f"{stage}-drawn").inner_text()
    assert any(row.startswith(f"{num_in} | {totals.num_out} | ") for row in rows(text)), text
    earlier = site.open_card(f"{stage}-drawn", number=1).inner_text()
    assert "image-missing" not in earlier
    assert "40 | 40 | " in "\n".join(rows(earlier))


def test_card_says_which_image_was_rejected_and_why(site: Site):
    text = site.open_card("rank-drawn").inner_text()
    assert "005 | image-unreadable | " in "\n".join(rows(text))
    assert "whose pixels cannot be decoded to the last" in text
    text = site.open_card("parse-drawn").inner_text()
    assert "007 | no-noun | Very nice." in rows(text)
    content = site.open_card("select-drawn")
    assert HOSTILE in content.inner_text()
    assert content.locator("img").count() == 0


def test_masks_are_painted_on_the_card(site: Site):
    content = site.open_card("mask-drawn")
    assert [width for width in site.pictures(content) if width > 300]


def test_whole_page_opens_from_the_card_of_the_data_set(site: Site):
    content = site.open_card("card-drawn")
    assert len(site.pictures(content)) == 2
    with site.page.context.expect_page() as opened:
        content.get_by_role("link", name="The whole page").click()
    report = opened.value
    report.on("console", lambda message: site.note(message))
    report.reload()
    assert "drawn" in report.locator("h1").inner_text()
    widths = report.locator("img").evaluate_all("all => all.map(one => one.naturalWidth)")
    assert len(widths) > 10
    assert all(widths)
    assert "no-noun" in report.locator("body").inner_text()
    report.close()


def test_outputs_lead_to_their_manifests_and_to_the_run_that_made_them(site: Site, served: Served):
    content = site.open_card("select-drawn")
    link = content.locator("a", has_text="select-v2-").first
    manifest = Manifest.model_validate_json(httpx.get(str(link.get_attribute("href"))).text)
    assert manifest.provenance["flow_run"] == served.runs[1]
    run = content.get_by_role("link", name="run", exact=True).first.get_attribute("href")
    assert run == f"/runs/flow-run/{served.runs[1]}"
    site.open(run).get_by_text("curate drawn (pocket)").first.wait_for()


def test_sample_shows_its_masks_caption_and_scores(site: Site):
    content = site.open_card("inspect-drawn")
    text = "\n".join(rows(content.inner_text()))
    assert "003" in text
    assert "in the data set" in text
    assert "CLIP score" in text
    assert re.search(r"\| [a-z]+ \| [\d.]+ % \| 0\.\d+ \| \d+, \d+, \d+, \d+", text)
    assert site.pictures(content) == [420]


def test_rejected_sample_says_why_and_its_name_is_harmless(site: Site):
    content = site.open_card("inspect-drawn", number=1)
    text = content.inner_text()
    assert "left out by select: image-missing" in text
    assert "No such file." in text
    assert HOSTILE in text
    assert content.locator("img").count() == 0
    assert content.get_by_role("link", name="day").count() == 0


def test_changes_are_one_click_from_the_card_of_the_data_set(site: Site):
    content = site.open_card("card-drawn")
    assert content.get_by_role("link", name="What changed").get_attribute("href") == (
        "/artifacts/key/changes-drawn"
    )
    text = "\n".join(rows(site.open_card("changes-drawn").inner_text()))
    assert "mask.box_threshold | 0.25 | 0.4" in text
    assert "005 | removed | rank: image-unreadable" in text
    assert "select | image-missing | 0 | 1" in text


def test_evaluation_shows_images_and_its_page(site: Site):
    content = site.open_card("findings-base")
    assert "pocket:stable_diffusion" in content.inner_text()
    assert site.pictures(content)
    assert all(site.pictures(content))
    report = content.get_by_role("link", name="The whole page").get_attribute("href")
    assert "MG1" in httpx.get(str(report)).text
