"""What of a store a browser gets, and what it does not."""

import http.client
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.settings import PREFECT_SERVER_API_PORT, temporary_settings

from flows.serve_reports import reports_address, serve_reports

KEY = f"card-v2-{'0a' * 16}"


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    store = tmp_path / "store"
    (store / KEY / "model").mkdir(parents=True)
    for name in ("report.html", "sheet.jpg", "manifest.json", "ranked.parquet", "figures.json"):
        (store / KEY / name).write_text(f"content of {name}")
    (store / KEY / "model/page.html").write_text("below")
    (store / "secret.html").write_text("beside")
    (tmp_path / "outside.html").write_text("outside")
    (store / KEY / "link.html").symlink_to(tmp_path / "outside.html")
    server = serve_reports(store, ("127.0.0.1", 0))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


def get(port: int, path: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.putrequest("GET", path, skip_host=True)  # as it is: nothing is normalised
    connection.endheaders()
    return connection.getresponse()


@pytest.mark.parametrize("name", ["report.html", "report.html?x=1", "sheet.jpg", "manifest.json"])
def test_pages_pictures_and_manifests_are_served(port: int, name: str):
    answer = get(port, f"/{KEY}/{name}")
    assert answer.status == 200
    assert answer.read().decode() == f"content of {name.partition('?')[0]}"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    "path",
    [
        "/",
        f"/{KEY}",
        f"/{KEY}/",
        f"/{KEY}/ranked.parquet",
        f"/{KEY}/figures.json",
        f"/{KEY}/model/page.html",
        f"/{KEY}/link.html",
        f"/{KEY}/missing.html",
        f"/{KEY}/../secret.html",
        f"/{KEY}/../../outside.html",
        f"/{KEY}/%2e%2e/%2e%2e/outside.html",
        f"/{KEY}/report.html/..",
        "/secret.html",
        "//etc/passwd",
        "/digests.sqlite",
    ],
)
def test_nothing_else_is(port: int, path: str):
    assert get(port, path).status == 404


def test_port_is_beside_the_server_of_prefect_or_chosen_or_none(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("TOKENCOMPOSE_REPORTS_PORT", raising=False)
    with temporary_settings({PREFECT_SERVER_API_PORT: 4391}):
        assert reports_address() == ("127.0.0.1", 4392)
    monkeypatch.setenv("TOKENCOMPOSE_REPORTS_PORT", "5001")
    assert reports_address() == ("127.0.0.1", 5001)
    monkeypatch.setenv("TOKENCOMPOSE_REPORTS_PORT", "off")
    assert reports_address() is None
    monkeypatch.setenv("TOKENCOMPOSE_REPORTS_PORT", "70000")
    with pytest.raises(ValueError, match="70000"):
        reports_address()
