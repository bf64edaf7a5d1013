"""Links between the pages lead somewhere, to headings too; no page or picture is forgotten."""

import re
from pathlib import Path

import pytest

from tests.conftest import ROOT

PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
PAGES += sorted((ROOT / "data_schemas").glob("*.md"))
_CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(!?)\[[^\]]*\]\(([^)\s]+)\)")


def links_of(page: Path) -> list[tuple[bool, str]]:
    found = _LINK.findall(_CODE.sub("", page.read_text("utf-8")))
    return [(bool(mark), target) for mark, target in found if "://" not in target]


def anchors_of(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.*)$", _CODE.sub("", page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path):
    for _, target in links_of(page):
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), target
        assert not anchor or anchor in anchors_of(file), target


def test_every_page_is_in_the_list_of_the_readme():
    listed = {(ROOT / target).resolve() for _, target in links_of(ROOT / "README.md")}
    assert set((ROOT / "docs").glob("*.md")) <= listed


def test_pictures_are_shown():
    shown = {
        page.parent / target for page in PAGES for picture, target in links_of(page) if picture
    }
    kept = {path for path in (ROOT / "docs").iterdir() if path.suffix != ".md"}
    assert kept == shown
