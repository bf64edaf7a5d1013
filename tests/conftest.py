"""Fixtures of all tests."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("DO_NOT_TRACK", "1")
# Results of other processes, and of runs of a person in this checkout, have equal keys. Read by
# Prefect when it is first imported, and by processes that tests start.
_RESULTS = tempfile.TemporaryDirectory(prefix="prefect-results-")
os.environ["PREFECT_LOCAL_STORAGE_PATH"] = _RESULTS.name

# Examples take as long as the machine is busy. Each run of the suite has the same ones.
settings.register_profile(
    "suite", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("suite")

ROOT = Path(__file__).parent.parent
MODELS = ROOT / "tokencompose_core/pocket/models"
SHARED = ROOT.parent / "shared/data"


@pytest.fixture
def shared_data() -> Path:
    """Real data beside the checkout, which a clone alone does not have."""
    if not SHARED.is_dir():
        pytest.skip("real VSR, MultiGen and TokenCompose files are not on this machine")
    return SHARED


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """A Prefect server of the tests' own, started once."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture
def hub_may_be_asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """As with another profile than `pocket`; it is not the real one. Gives its address."""
    from tests.fake_hub import asking_fake_hub

    with asking_fake_hub(monkeypatch) as url:
        yield url


@pytest.fixture
def store_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of the test's own, for flows and tasks."""
    monkeypatch.setenv("TOKENCOMPOSE_STORE", str(tmp_path / "store"))
    return tmp_path / "store"
