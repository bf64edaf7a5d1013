import socket
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from huggingface_hub.utils import _http

from tests.fake_hub import ask_at
from tokencompose_core.checkpoints.hub_access import require_in_reach


def look(name: str, revision: str = "", file_name: str = "model_index.json") -> None:
    require_in_reach("finetune.base_model", name, file_name, revision)


def test_model_that_the_hub_has_is_taken(hub_may_be_asked: str):
    look("owner/sd")
    look("owner/sd", "v2")


@pytest.mark.parametrize(
    ("name", "revision", "message"),
    [
        ("owner/sb", "", "has no model_index.json of it; see that the name is right, or log in"),
        ("owner/sd", "v3", "has no model_index.json of it in revision v3; see that"),
        ("flair/pos-english", "", "has no model_index.json of it; see"),
        ("gated/sd", "", "gives it only to those who accepted its terms"),
        ("blocked/sd", "", "does not say whether it has it (HfHubHTTPError: 407 "),
    ],
)
def test_model_that_the_hub_does_not_give_is_refused(
    hub_may_be_asked: str, name: str, revision: str, message: str
):
    with pytest.raises(FileNotFoundError) as caught:
        look(name, revision)
    said = str(caught.value)
    start = f"finetune.base_model: {name!r} is not on this machine, and {hub_may_be_asked} "
    assert said.startswith(start + message)
    assert "\n" not in said


def test_hub_that_cannot_be_reached_is_named(hub_may_be_asked: str, monkeypatch):
    ask_at("http://127.0.0.1:9", monkeypatch)
    monkeypatch.setattr(_http.time, "sleep", lambda seconds: None)  # between its tries
    with pytest.raises(FileNotFoundError) as caught:
        look("owner/sd")
    said = "and http://127.0.0.1:9 cannot be reached: Connection refused"
    assert str(caught.value) == f"finetune.base_model: 'owner/sd' is not on this machine, {said}"


def test_hub_that_hangs_up_is_named(hub_may_be_asked: str, monkeypatch):
    monkeypatch.setattr(_http.time, "sleep", lambda seconds: None)
    with socket.create_server(("127.0.0.1", 0)) as silent:

        def hang_up() -> None:
            with suppress(OSError):
                while True:
                    silent.accept()[0].close()

        threading.Thread(target=hang_up, daemon=True).start()
        ask_at(f"http://127.0.0.1:{silent.getsockname()[1]}", monkeypatch)
        with pytest.raises(FileNotFoundError, match=r":\d+ cannot be reached: [\w ]+$"):
            look("owner/sd")


def test_model_in_the_cache_is_not_asked_for(tmp_path: Path, hub_may_be_asked: str):
    snapshot = tmp_path / "models--nobody--sd" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "model_index.json").touch()
    refs = tmp_path / "models--nobody--sd" / "refs"
    refs.mkdir()
    (refs / "main").write_text("abc")
    require_in_reach("models.a", "nobody/sd", "model_index.json", cache_dir=tmp_path)
