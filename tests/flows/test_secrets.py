"""Passwords and signatures of URLs, looked for in all that a run leaves behind."""

import json
import tarfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.sorting import ArtifactSort

from data_schemas.configs.curate_config import CurateConfig
from flows.curate import curate
from tests.hostile_inputs import CAPTION, encoded, picture
from tests.local_servers import QuietAnswers, http_server

pytestmark = pytest.mark.usefixtures("prefect_server")
pytest.importorskip("aiohttp", reason="fsspec reads http with it")
SECRETS = ("s3cretword", "s3cretsign", "s3crettoken", "s3cretfragment")
IMAGE = encoded(picture(), format="JPEG", quality=92)


class Handler(QuietAnswers, BaseHTTPRequestHandler):
    """Gives an image to whoever knows the password, and an error that quotes the request."""

    def do_GET(self):
        good = "good" in self.path and (self.headers["Authorization"] or "").startswith("Basic")
        body = IMAGE if good else f"no {self.path}".encode()
        self.answer(200 if good else 403, body, None if good else f"no {self.path}")


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with http_server(Handler) as port:
        yield port


def texts_of(path: Path) -> str:
    """All text in a file, also where it lies compressed."""
    if path.suffix == ".parquet":
        return json.dumps(pq.read_table(path).to_pylist(), default=str)
    if path.suffix == ".tar":
        with tarfile.open(path) as tar:
            members = [tar.extractfile(member) for member in tar]
            return " ".join(file.read().decode("latin-1") for file in members if file is not None)
    return path.read_bytes().decode("latin-1")


def test_nothing_that_a_run_leaves_knows_the_secrets_of_its_urls(tmp_path, store_dir, port, capfd):
    word, sign, token, fragment = SECRETS
    here = f"me:{word}@127.0.0.1:{port}"
    query = f"?X-Amz-Signature={sign}&token={token}#{fragment}"
    rows = [
        {"url": f"http://{here}/good.jpg{query}", "caption": CAPTION},
        {"url": f"http://{here}/bad.jpg{query}", "caption": CAPTION},
        {"url": f"http://me:{word}@localhost:{port}/a.jpg{query}", "caption": CAPTION},
        {"url": f"ftp://me:{word}@127.0.0.1/a.jpg{query}", "caption": CAPTION},
        {"url": f"http://me:{word}@127.0.0.1:9/a.jpg{query}", "caption": CAPTION},
        {"url": f"http://{here}/good b.jpg{query}", "caption": " "},
        {"url": f"http://{here}/one.jpg{query}", "caption": CAPTION, "id": "one"},
        {"url": f"http://{here}/two.jpg{query}", "caption": CAPTION, "id": "one"},
    ]
    (tmp_path / "set").mkdir()
    (tmp_path / "set/c.jsonl").write_text("\n".join(map(json.dumps, rows)))
    source = {
        "kind": "json",
        "paths": [str(tmp_path / "set/c.jsonl")],
        "images_dir": str(tmp_path / "set"),
        "image_column": "url",
        "image_limits": {
            "url_schemes": ["http"],
            "private_hosts": ["127.0.0.1"],
            "timeout_seconds": 5.0,
            "num_retries": 0,
        },
    }
    run = curate(
        CurateConfig.load(caption_set="secrets", source=source, max_rejected_fraction=1.0),
        return_state=True,
    )
    assert run.is_completed()
    left = {
        str(path): texts_of(path)
        for root in (store_dir, tmp_path / "set/fetched")
        for path in root.rglob("*")
        if path.is_file()
    }
    assert sum(path.endswith("manifest.json") for path in left) >= 5
    assert any("/bad.jpg?X-Amz-Signature=***" in text for text in left.values())
    with get_client(sync_client=True) as client:
        # More than one page of them, if other tests have used the server.
        newest = client.read_artifacts(sort=ArtifactSort.CREATED_DESC)
        left["artifacts"] = "".join(a.model_dump_json() for a in newest)
        left["logs"] = "".join(entry.model_dump_json() for entry in client.read_logs())
        left["flow runs"] = "".join(r.model_dump_json() for r in client.read_flow_runs())
        left["task runs"] = "".join(r.model_dump_json() for r in client.read_task_runs())
    assert "secrets" in left["artifacts"]
    left["printed"] = "".join(capfd.readouterr())
    found = {
        (place, secret) for place, text in left.items() for secret in SECRETS if secret in text
    }
    assert found == set()
