"""Repositories of a hub whose weights no library would load, by the names of their files."""

from pathlib import Path

import pytest

from tests.tiny_models import write_model
from tokencompose_core.checkpoints.check_weights import check_weights
from tokencompose_core.checkpoints.pipeline_class import load_options


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub's cache with an empty snapshot of a model; no hub is asked."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--nobody--sd"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs/main").write_text("abc")
    return repository / "snapshots/abc"


def rename_to_variant(folder: Path) -> None:
    for path in folder.rglob("*.safetensors"):
        path.rename(path.with_suffix(".fp16.safetensors"))


def test_a_pipeline_in_the_cache_is_taken_with_its_weights_only(cache: Path):
    write_model(cache, "sd1")
    load_options("nobody/sd")
    rename_to_variant(cache)
    with pytest.raises(ValueError, match="variant") as caught:
        load_options("nobody/sd")
    assert str(caught.value) == (
        "'nobody/sd' has no text_encoder/model.safetensors, but a variant,"
        " text_encoder/model.fp16.safetensors, which is not loaded; take another revision or"
        " model, or download it, rename such files, and name the folder"
    )


def test_a_pipeline_whose_download_was_interrupted_is_refused(cache: Path):
    write_model(cache, "sd1")
    (cache / "unet/diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"^'nobody/sd' has no unet/diffusion_pytorch_mo"):
        load_options("nobody/sd")


def test_a_detector_whose_hub_lists_no_weights_is_refused(hub_may_be_asked: str):
    check_weights("owner/owl", "transformers", revision="v2")
    with pytest.raises(ValueError, match=r"^'owner/owl' has no model\.safetensors, but a v"):
        check_weights("owner/owl", "transformers")


def test_what_the_cache_lacks_may_be_on_the_hub(cache: Path, hub_may_be_asked: str):
    renamed = cache.parents[1].rename(cache.parents[2] / "models--owner--owl") / "snapshots/abc"
    renamed.mkdir(parents=True)
    (renamed / "config.json").touch()
    (renamed.parents[1] / "refs/main").write_text("abc")
    with pytest.raises(ValueError, match=r"but a variant, model\.fp16\.safetensors"):
        check_weights("owner/owl", "transformers")
    (renamed / "model.safetensors").touch()
    check_weights("owner/owl", "transformers")


def test_of_a_hub_that_does_not_list_its_files_nothing_is_said(hub_may_be_asked: str):
    check_weights("nobody/owl", "transformers")
