"""What the console does not show, as the end of the command says it, or nobody can use it."""

import logging
import os
import subprocess
import sys

import pytest
from huggingface_hub.utils import _http
from prefect.settings import get_current_settings

from flows.quiet_console import quiet_console
from tests.conftest import ROOT
from tests.fake_hub import ask_at
from tokencompose_core.checkpoints.hub_access import require_in_reach


def test_tries_to_reach_a_hub_are_said_once(hub_may_be_asked: str, monkeypatch, capsys):
    ask_at("http://127.0.0.1:9", monkeypatch)
    monkeypatch.setattr(_http.time, "sleep", lambda seconds: None)  # between its tries
    logger = logging.getLogger(_http.__name__)
    monkeypatch.setattr(logger, "filters", [])
    quiet_console(())
    with pytest.raises(FileNotFoundError, match="cannot be reached"):
        require_in_reach("models.base", "owner/sd", "model_index.json")
    line = "The model hub does not answer; it is asked again, for a minute.\n"
    assert capsys.readouterr() == ("", line)


STOPPED = """
import os, signal
from prefect import flow, task
from flows.quiet_console import quiet_console

@task
def draw():
    os.kill(os.getpid(), signal.SIGINT)
    signal.pause()

@flow
def begin():
    draw()

signal.signal(signal.SIGINT, signal.default_int_handler)
quiet_console(())
try:
    begin()
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.usefixtures("prefect_server")
def test_runs_that_a_person_interrupts_are_not_shown_as_crashed():
    """In a process of its own: Prefect writes to the console that it was started with."""
    url = str(get_current_settings().api.url)
    quiet = {"PREFECT_API_URL": url, "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "WARNING"}
    ran = subprocess.run(
        [sys.executable, "-c", STOPPED],
        env=os.environ | quiet,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (ran.stdout, ran.stderr) == ("interrupted\n", "")
