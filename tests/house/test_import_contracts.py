"""The import contracts hold, and fail when they should."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGES = ("flows", "tasks", "tokencompose_core", "data_schemas")


def lint(folder: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package,
            tmp_path / package,
            ignore=shutil.ignore_patterns("models", "__pycache__"),
        )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_contracts_hold(copy):
    result = lint(copy)
    assert result.returncode == 0, result.stdout
    assert "0 broken" in result.stdout


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("data_schemas/records.py", "import tasks.stage", "Arrows go down"),
        ("tokencompose_core/store/keys.py", "import tasks.stage", "Arrows go down"),
        ("tasks/stage.py", "import flows.curate", "Arrows go down"),
        ("flows/curate.py", "import tokencompose_core.store.keys", "Flows do not reach past tasks"),
        ("flows/curate.py", "import torch", "Flows do not reach past tasks"),
        ("tokencompose_core/captions/clip.py", "import prefect", "The core knows no Prefect"),
        ("data_schemas/records.py", "import torch", "Schemas know pydantic and pyarrow only"),
        (
            "tokencompose_core/captions/clip.py",
            "import tokencompose_core.nouns.tagger",
            "Stages of the core stand side by side",
        ),
        (
            "tokencompose_core/training/crop.py",
            "import tokencompose_core.pocket.scenes",
            "Stages of the core stand side by side",
        ),
        (
            "flows/curate.py",
            "import tokencompose_core.pocket.scenes",
            "Only tasks reach the pocket",
        ),
    ],
)
def test_contract_is_broken_by_an_import_that_goes_the_wrong_way(copy, file, line, contract):
    path = copy / file
    path.write_text(f"{path.read_text()}\n{line}\n")
    result = lint(copy)
    assert result.returncode != 0
    broken = result.stdout.split("Broken contracts")[1]
    assert contract in broken


def test_stray_package_in_the_core_is_refused(copy):
    (copy / "tokencompose_core/leftovers").mkdir()
    (copy / "tokencompose_core/leftovers/__init__.py").write_text('"""Odds and ends."""\n')
    result = lint(copy)
    assert result.returncode != 0
    assert "leftovers" in result.stdout
