from html.parser import HTMLParser

from tokencompose_core.reports.page import (
    Chart,
    Figures,
    Grid,
    Picture,
    Row,
    Section,
    Table,
    render_page,
)

NASTY = '"><script>alert(1)</script> & <b>'
PIXEL = "data:image/png;base64,AAAA"


class Tags(HTMLParser):
    """The tags of a page, its texts, and where its pictures and links lead."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.sources: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.sources += [value for name, value in attributes if name in ("src", "href")]

    def handle_data(self, data):
        self.texts.append(data.strip())


def test_every_text_is_escaped_and_nothing_is_loaded_from_elsewhere():
    section = Section(
        title=NASTY,
        parts=[
            Table(columns=[NASTY], rows=[Row(cells=[f"{NASTY}\n{NASTY}"])], notes=[NASTY]),
            Chart(title=NASTY, labels=[NASTY], rows=[(NASTY, [40.0])]),
            Grid(columns=[f"{NASTY}\n{NASTY}"], rows=[(NASTY, [Picture(url=PIXEL, note=NASTY)])]),
            Figures(title=NASTY, urls=[PIXEL]),
        ],
        foot=NASTY,
    )
    page = Tags(render_page(NASTY, [NASTY], [section]))
    assert "script" not in page.tags
    assert sum(NASTY in text for text in page.texts) >= 15
    assert all(source.startswith(("data:", "#")) for source in page.sources)


def test_marked_and_quoted_rows_and_dots():
    table = Table(
        columns=["model", "MG2"],
        rows=[
            Row(cells=["own", "+3.0 *\n[+1.0, +5.0]"]),
            Row(cells=["published", "90.7"], is_quoted=True),
        ],
    )
    chart = Chart(labels=["base", "own"], rows=[("cat", [25.0, None])])
    page = render_page("", [], [Section(title="MultiGen", parts=[table, chart])])
    assert '<b class="sure">+3.0 *</b><small>[+1.0, +5.0]</small>' in page
    assert page.count('<tr class="quoted">') == 1
    assert page.count('<i style="left: ') == 1
    assert "left: 25.0%" in page
    assert "Read these figures with care" not in page
