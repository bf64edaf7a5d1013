"""A hub on this machine, which has the first lines of what `huggingface_hub` asks for."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from huggingface_hub import constants, file_download
from huggingface_hub.utils import reset_sessions

from tests.conftest import MODELS as POCKET

TAGGER = "/flair/pos-english/resolve/main/pytorch_model.bin"
MODELS = {
    "/bert-base-uncased/resolve/main/config.json",
    TAGGER,
    "/owner/sd/resolve/main/model_index.json",
    "/owner/sd/resolve/v2/model_index.json",
}

LISTED = {
    "/api/models/owner/owl/tree/main": ["config.json", "model.fp16.safetensors"],
    "/api/models/owner/owl/tree/v2": ["config.json", "model.safetensors"],
}
_TAGGER_FILE = POCKET / "tagger/pytorch_model.bin"


class _Hub(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """Give the one file that it has, the pocket world's tagger, or list those of a model."""
        if (names := LISTED.get(self.path.partition("?")[0])) is not None:
            files = [{"type": "file", "path": name, "size": 1, "oid": "a"} for name in names]
            content = json.dumps(files).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            return
        self.do_HEAD()
        if self.path == TAGGER:
            self.wfile.write(_TAGGER_FILE.read_bytes())

    def do_HEAD(self) -> None:
        """Answer as the hub does, by status and header."""
        size = _TAGGER_FILE.stat().st_size if self.path == TAGGER else 0
        if self.path in MODELS:
            self.send_response(200)
            headers = {"ETag": '"e"', "X-Repo-Commit": "c" * 40}
        elif self.path.startswith("/gated/"):
            self.send_response(403)
            headers = {"X-Error-Code": "GatedRepo"}
        elif self.path.startswith("/blocked/"):  # as by a proxy
            self.send_response(407)
            headers = {}
        elif self.path.startswith("/api/"):
            self.send_response(404)
            headers = {"X-Error-Code": "RepoNotFound"}
        elif any(model.startswith(self.path.split("/resolve/")[0] + "/") for model in MODELS):
            self.send_response(404)
            is_revision = not self.path.split("/resolve/")[1].startswith("main/")
            headers = {"X-Error-Code": "RevisionNotFound" if is_revision else "EntryNotFound"}
        else:
            self.send_response(401)
            headers = {"X-Error-Code": "RepoNotFound"}
        for name, value in {**headers, "Content-Length": str(size)}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@contextmanager
def asking_fake_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Have it asked in place of the real one while the context lasts; gives its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    with monkeypatch.context() as patch:
        patch.setattr(constants, "HF_HUB_OFFLINE", False)
        ask_at(url, patch)
        reset_sessions()  # those that are open refuse to ask
        try:
            yield url
        finally:
            server.shutdown()
            server.server_close()
    reset_sessions()


def ask_at(url: str, patch: pytest.MonkeyPatch) -> None:
    """Have a hub asked at another address."""
    patch.setattr(constants, "ENDPOINT", url)
    template = f"{url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    patch.setattr(file_download, "HUGGINGFACE_CO_URL_TEMPLATE", template)
