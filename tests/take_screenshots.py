"""Write the pictures of the UI in `docs/` from a server that runs: `make screenshots`.

`make serve` has to be up, with these runs of the pocket world behind it, in this order: `curate`,
`finetune` on its data set, `curate` with another `mask.box_threshold`, and `inspect` of one sample
that is in the data set and of one that was left out.
"""

from pathlib import Path

from prefect.settings import get_current_settings

from tests.conftest import ROOT
from tests.ui_pages import Site, open_browser

_CARDS = {
    "ui-card.jpg": ("mask-pocket", 0, 1500),
    "ui-rejected.jpg": ("rank-pocket", 0, 900),
    "ui-finetune.jpg": ("finetune-grounded", 0, 1900),
    "ui-inspect.jpg": ("inspect-pocket", 1, 1400),
    "ui-inspect-rejected.jpg": ("inspect-pocket", 0, 820),
    "ui-changes.jpg": ("changes-pocket", 0, 1500),
}


def main(folder: Path) -> None:
    """Take all pictures."""
    url = str(get_current_settings().api.url).removesuffix("/api")
    with open_browser() as browser:
        site = Site(browser, url, height=1000)
        page = site.open("/runs")
        page.get_by_text("curate pocket (pocket)").first.click()
        page.get_by_text("Completed", exact=True).first.wait_for()
        page.wait_for_timeout(4000)  # the graph is drawn in steps
        site.shoot(folder / "ui-run.jpg")
        for name, (key, number, height) in _CARDS.items():
            site.page.set_viewport_size({"width": 1280, "height": height})
            site.pictures(site.open_card(key, number))
            site.shoot(folder / name)
        if site.problems:
            raise RuntimeError(f"the pages have errors: {site.problems}")


if __name__ == "__main__":
    main(ROOT / "docs")
