"""Stores whose rules do not depend on where they lie."""

import uuid
from pathlib import Path

import pytest

from tokencompose_core.store.content_store import Store


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store that checks digests, on this machine and behind fsspec."""
    if request.param == "local":
        return Store(str(tmp_path / "store"), check="digest")
    return Store(f"memory://{uuid.uuid4().hex}", check="digest", cache_dir=tmp_path / "cache")
