"""Links from cards to runs, outputs and reports."""

import os
from pathlib import Path

from data_schemas.manifest import Manifest
from tasks.markdown import plain_text
from tokencompose_core.store.content_store import MANIFEST_NAME

REPORTS_URL = "TOKENCOMPOSE_REPORTS_URL"
"""Where the pages and pictures of the store are served, if they are; `make serve` sets it."""


def link_to_report(manifest: Manifest, path: Path) -> str:
    """A note that says where a page lies.

    Browsers follow no link from a server's page to a file, so without a server for reports there
    is the path to copy.

    Args:
        manifest: The output that holds the page.
        path: Where the page lies.
    """
    where = plain_text(str(path), most=4096)
    url = _url(manifest.key, path.name)
    if url:
        return f"**[The whole page]({url})**, {where}"
    return f"The whole page, to be opened in a browser: [{path.name}](<{path.as_uri()}>), {where}"


def link_to_output(key: str) -> str:
    """A key of the store, linked to its manifest if that is served."""
    url = _url(key, MANIFEST_NAME)
    return f"[{key}]({url})" if url else f"`{key}`"


def link_to_maker(manifest: Manifest) -> str:
    """The flow run that computed an output; empty if that was not recorded."""
    run = manifest.provenance.get("flow_run")
    return f"[run](/runs/flow-run/{run})" if run else ""


def link_to_card(key: str, text: str) -> str:
    """A card with its history, by the key of its artifact."""
    return f"[{text}](/artifacts/key/{key})"


def _url(key: str, name: str) -> str:
    root = os.environ.get(REPORTS_URL, "").rstrip("/")
    return f"{root}/{key}/{name}" if root else ""
