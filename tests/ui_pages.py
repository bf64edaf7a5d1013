"""The pages of a Prefect server in a headless browser."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import which

from playwright.sync_api import Browser, Locator, Page, sync_playwright

# The UI asks for pictures that its own build lacks.
_NOT_OURS = ("/favicon.ico", "/ico/")
_MILLISECONDS = 60_000


def find_chromium() -> str | None:
    """The browser, if this machine has one."""
    return which("chromium") or which("chromium-browser") or which("google-chrome")


@contextmanager
def open_browser() -> Iterator[Browser]:
    """A headless browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        yield browser
        browser.close()


class Site:
    """A server's UI in one tab.

    Args:
        browser: The browser.
        url: Where the UI is.
        height: Height of the window in pixels.

    Attributes:
        page: The tab.
        problems: Errors in the browser's console, and dialogs that a page opened.
    """

    def __init__(self, browser: Browser, url: str, height: int = 900) -> None:
        self.url = url
        self.problems: list[str] = []
        self.page: Page = browser.new_page(viewport={"width": 1280, "height": height})
        self.page.set_default_timeout(_MILLISECONDS)
        self.page.on("console", lambda message: self.note(message))
        self.page.on("pageerror", lambda error: self.problems.append(f"{self.page.url}: {error}"))
        self.page.on("dialog", lambda dialog: self._refuse(dialog))

    def open(self, path: str) -> Page:
        """Go to a page of the UI."""
        self.page.goto(f"{self.url}{path}", wait_until="domcontentloaded")
        return self.page

    def open_card(self, key: str, number: int = 0) -> Locator:
        """Go by clicks from the list of artifacts to one, the newest of its history or an earlier.

        Args:
            key: Key of the artifact.
            number: 0 for the newest.

        Returns:
            The card's content.
        """
        self.open("/artifacts")
        self.page.get_by_text(key, exact=True).first.click()
        self.page.wait_for_url(f"**/artifacts/key/{key}")
        self.page.locator("a[href*='/artifacts/artifact/']").nth(number).click()
        self.page.wait_for_url("**/artifacts/artifact/*")
        content = self.page.locator(".artifact-data-markdown").first
        content.wait_for()
        return content

    def pictures(self, content: Locator) -> list[int]:
        """Widths of the pictures as they were decoded; 0 of one that was not."""
        for picture in content.locator("img").all():
            picture.evaluate("picture => picture.decode()")
        return content.locator("img").evaluate_all("all => all.map(one => one.naturalWidth)")

    def shoot(self, path: Path, *, full: bool = False) -> None:
        """Write a picture of what the tab shows, as JPEG."""
        self.page.wait_for_timeout(1500)  # what moves comes to rest
        self.page.screenshot(path=path, type="jpeg", quality=70, full_page=full)

    def note(self, message) -> None:
        """Keep an error of a page's console, unless it is one of the UI's own.

        A busy server answers 503, and the UI asks again.
        """
        address = message.location.get("url", "")
        if "status of 503" in message.text:
            return
        if message.type == "error" and not any(part in address for part in _NOT_OURS):
            self.problems.append(f"{message.text} ({address})")

    def _refuse(self, dialog) -> None:
        self.problems.append(f"dialog: {dialog.message}")
        dialog.dismiss()
