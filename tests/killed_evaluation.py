"""A process that evaluates, and is killed just before an output of a stage is put in its place."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from prefect.settings import get_current_settings

_CODE = """
import os, signal, sys

stage, count = sys.argv[2], int(sys.argv[3])
seen = 0

def kill(event, arguments):
    global seen
    if event == "os.rename" and f"/{stage}-v" in str(arguments[1]):
        seen += 1
        if seen == count:
            os.kill(os.getpid(), signal.SIGKILL)

if stage:
    sys.addaudithook(kill)

from data_schemas.configs.evaluate_config import EvaluateConfig
from flows.evaluate import evaluate
from tasks.model_under_test import ModelUnderTest

model = ModelUnderTest(label="base", name="pocket:stable_diffusion")
evaluate([model], EvaluateConfig.model_validate_json(sys.argv[1]))
"""


def run_evaluation(store: Path, changes: dict[str, Any], stage: str = "", count: int = 1) -> int:
    """Evaluate the pocket Stable Diffusion in a process of its own.

    Args:
        store: Where outputs lie.
        changes: To the pocket profile.
        stage: Where it is killed; empty for nowhere.
        count: Just before which output of that stage is put in its place.

    Returns:
        The exit code; that of a killed process is -9.
    """
    environment = os.environ | {
        "TOKENCOMPOSE_STORE": str(store),
        "PREFECT_API_URL": str(get_current_settings().api.url),
    }
    command = [sys.executable, "-c", _CODE, json.dumps(changes), stage, str(count)]
    process = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    if process.returncode not in (0, -signal.SIGKILL):
        raise RuntimeError(process.stderr[-3000:])
    return process.returncode
