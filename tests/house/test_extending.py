"""What docs/extending.md shows runs as it stands there, and without Prefect."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.conftest import ROOT
from tokencompose_core.objectives.phrase_tokens import index_phrase_tokens

PAGE = (ROOT / "docs/extending.md").read_text("utf-8")
OBJECTIVE, *SCRIPTS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def overlap_losses() -> Callable[..., dict[str, torch.Tensor]]:
    names: dict = {}
    exec(OBJECTIVE, names)
    return names["overlap_losses"]


def test_the_objective_sees_pairs_of_a_sample(overlap_losses):
    # Two samples: one phrase of two tokens beside another, and one phrase alone.
    tokens = index_phrase_tokens([[[1, 2], [5]], [[3]]])
    maps = torch.zeros(2, 1, 2, 2, 3)
    maps[0, 0, 0, 0, 0] = maps[0, 0, 0, 1, 1] = 0.2  # halves on two cells
    maps[0, 0, 0, 1, 2] = 0.1  # all of it on one of these
    maps[1, 0, :, :, 0] = 0.3
    maps.requires_grad_()
    loss = overlap_losses({"mid": maps}, tokens, {}, power=2.0)["overlap"]
    assert loss.item() == pytest.approx(0.5**2)
    loss.backward()
    assert maps.grad is not None
    assert maps.grad[0].abs().sum() > 0
    assert not maps.grad[1].any()


def test_the_objective_takes_a_batch_without_phrases(overlap_losses):
    tokens = index_phrase_tokens([[], []])
    loss = overlap_losses({"mid": torch.zeros(2, 1, 2, 2, 1)}, tokens, {}, power=1.0)["overlap"]
    assert loss.item() == 0.0


@pytest.mark.parametrize("number", range(2))
def test_the_core_is_used_without_flows(number: int, tmp_path: Path):
    code = SCRIPTS[number] + "\nimport sys; assert 'prefect' not in sys.modules"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    said, files = (("{2: ", ["attention.png"]), ("{'denoising': ", []))[number]
    assert ran.stdout.startswith(said)
    assert [path.name for path in tmp_path.iterdir()] == files
