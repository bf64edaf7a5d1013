"""What the console does not show, as the end of the command says it, or nobody can use it."""

import logging

import pytest
from huggingface_hub.utils import _http

from flows.quiet_console import quiet_console
from tests.fake_hub import ask_at
from tokencompose_core.checkpoints.hub_access import require_in_reach


def test_tries_to_reach_a_hub_are_not_shown(hub_may_be_asked: str, monkeypatch, caplog):
    ask_at("http://127.0.0.1:9", monkeypatch)
    monkeypatch.setattr(_http.time, "sleep", lambda seconds: None)  # between its tries
    logger = logging.getLogger(_http.__name__)
    monkeypatch.setattr(logger, "level", logging.WARNING)
    monkeypatch.setattr(logger, "handlers", [caplog.handler])
    quiet_console(())
    with pytest.raises(FileNotFoundError, match="cannot be reached"):
        require_in_reach("models.base", "owner/sd", "model_index.json")
    assert caplog.messages == []
