"""Pages, pictures and manifests of the store for the browser: `python -m flows.serve_reports`."""

import os
import re
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from prefect.settings import get_current_settings

from tasks.stage import open_store

PORT = "TOKENCOMPOSE_REPORTS_PORT"
_SERVED = re.compile(r"/[a-z0-9]+-v\d+-[0-9a-f]{32}/[\w-]+\.(?:html|png|jpg)")
_MANIFEST = re.compile(r"/[a-z0-9]+-v\d+-[0-9a-f]{32}/manifest\.json")


def reports_address() -> tuple[str, int] | None:
    """Where reports are served: on this machine only, one port above the Prefect server.

    `TOKENCOMPOSE_REPORTS_PORT` is another port, or `off`.

    Raises:
        ValueError: If it is neither.
    """
    setting = os.environ.get(PORT) or str(get_current_settings().server.api.port + 1)
    if setting == "off":
        return None
    if not setting.isdecimal() or not 0 < int(setting) < 1 << 16:
        raise ValueError(f"{PORT} is {setting!r}, but it takes a port or off")
    return "127.0.0.1", int(setting)


class ReportHandler(SimpleHTTPRequestHandler):
    """Answers with the page, the pictures and the manifest of an output, and with nothing else.

    No folder is listed, and captions, masks, shards and weights are not served.
    """

    def send_head(self):
        """The file, if it is one that is served, or the answer that there is none."""
        path = self.path.partition("?")[0]
        file = Path(self.directory, path.lstrip("/"))
        is_served = _SERVED.fullmatch(path) or _MANIFEST.fullmatch(path)
        if not is_served or file.resolve() != Path(self.directory).resolve() / path.lstrip("/"):
            self.send_error(404, "Only pages, pictures and manifests of outputs are served")
            return None
        return super().send_head()

    def end_headers(self) -> None:
        """Have a page load and run nothing that it does not bring along."""
        self.send_header(
            "Content-Security-Policy",
            "default-src 'none'; img-src data: 'self'; style-src 'unsafe-inline'",
        )
        self.send_header("X-Content-Type-Options", "nosniff")
        super().end_headers()


def serve_reports(folder: Path, address: tuple[str, int]) -> ThreadingHTTPServer:
    """A server for the reports of a store; `serve_forever` starts it."""
    return ThreadingHTTPServer(address, partial(ReportHandler, directory=str(folder)))


def main() -> None:
    """Serve the reports of the store of this process until it is ended.

    Raises:
        ValueError: If the store is not on this machine, or the port is `off`.
    """
    store, address = open_store(), reports_address()
    if not store.is_local or address is None:
        raise ValueError(f"the reports of {store.root} are not served: {PORT} is off, or it is far")
    serve_reports(Path(store.root), address).serve_forever()


if __name__ == "__main__":
    main()
