"""Folders that lack something are refused as the library would, and others are loaded by it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from diffusers import DiffusionPipeline

from tests.conftest import MODELS
from tests.tiny_models import write_model
from tokencompose_core.checkpoints.check_weights import check_weights
from tokencompose_core.checkpoints.pipeline_class import load_options
from tokencompose_core.evaluation.generate import load_pipeline


def lose(name: str) -> Callable[[Path], None]:
    """An interrupted download: a file or a folder is not there."""

    def change(folder: Path) -> None:
        for path in folder.glob(name):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return change


def rename_vae(folder: Path) -> None:
    path = folder / "vae" / UNET
    path.rename(path.with_suffix(".fp16.safetensors"))


def save(**options) -> Callable[[Path], None]:
    """The same weights in other files."""

    def change(folder: Path) -> None:
        pipeline = DiffusionPipeline.from_pretrained(folder)
        for path in folder.rglob("*.safetensors"):
            path.unlink()
        pipeline.save_pretrained(folder, **options)

    return change


def save_shards(*, safe: bool) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        pipeline = DiffusionPipeline.from_pretrained(folder)
        for part in ("unet", "text_encoder"):
            shutil.rmtree(folder / part)
            # diffusers looks for no shards of its own that are pickles.
            getattr(pipeline, part).save_pretrained(
                folder / part,
                max_shard_size=20_000,
                safe_serialization=safe or part == "unet",
            )

    return change


def lose_shard(folder: Path) -> None:
    save_shards(safe=True)(folder)
    lose("unet/*-00001-of-*")(folder)


def save_pickled_shards(folder: Path) -> None:
    unet = DiffusionPipeline.from_pretrained(folder).unet
    shutil.rmtree(folder / "unet")
    unet.save_pretrained(folder / "unet", max_shard_size=20_000, safe_serialization=False)


END = ", without which the model cannot be loaded; see that its download came to its end"
UNET, TEXT = "diffusion_pytorch_model.safetensors", "model.safetensors"


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"), "sd1")


@pytest.fixture
def folder(tmp_path: Path, whole: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "model"))


@pytest.mark.parametrize(
    ("change", "part", "says"),
    [
        (lose("unet/*.safetensors"), "unet", f"has no {UNET}{END}"),
        (lose("text_encoder/*.safetensors"), "text_encoder", f"has no {TEXT}{END}"),
        (lose("vae/config.json"), "vae", f"has no config.json{END}"),
        (lose("unet"), "unet", f"has no config.json{END}"),
        (lose("scheduler"), "scheduler", f"has no scheduler_config.json{END}"),
        (lose("tokenizer/vocab.json"), "tokenizer", f"has no vocab.json{END}"),
        (
            lose_shard,
            "unet",
            f"has no diffusion_pytorch_model-00001-of-00004.safetensors{END}",
        ),
        (
            rename_vae,
            "vae",
            f"has no {UNET}, but a variant, diffusion_pytorch_model.fp16.safetensors; rename that"
            f" to {UNET}, and likewise in the model's other parts",
        ),
        (
            save_pickled_shards,
            "unet",
            f"has no {UNET}, but diffusion_pytorch_model-00001-of-00004.bin, which is not looked"
            f" for; get the model with {UNET}",
        ),
    ],
)
def test_what_the_library_would_not_load_is_refused_in_a_line(folder, change, part, says):
    change(folder)
    with pytest.raises(FileNotFoundError) as caught:
        load_options(folder)
    assert str(caught.value) == f"{folder / part} {says}"
    with pytest.raises((OSError, TypeError)):
        DiffusionPipeline.from_pretrained(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: None,
        save(safe_serialization=False),
        save_shards(safe=True),
        save_shards(safe=False),
    ],
    ids=["whole", "pickles", "shards", "pickled shards"],
)
def test_what_the_library_loads_is_let_through(folder, change):
    change(folder)
    load_pipeline(folder)


def test_the_remedy_for_a_variant_is_one(folder):
    save(variant="fp16")(folder)
    for path in folder.rglob("*.fp16.safetensors"):
        path.rename(path.with_name(path.name.replace(".fp16", "")))
    load_pipeline(folder)


def test_a_list_of_shards_that_is_none_is_named(folder):
    path = folder / f"unet/{UNET}.index.json"
    path.write_text("[]")
    with pytest.raises(ValueError, match=r"index\.json does not list the files of weights"):
        load_options(folder)


def test_of_a_hub_nothing_is_said():
    check_weights("nobody/owl", "transformers")
    check_weights(MODELS / "owlv2", "transformers")
