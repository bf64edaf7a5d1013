"""Weights that are programs, or lie about their size: none runs, each is refused by name."""

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from tests.conftest import ROOT
from tests.hostile_checkpoints import PICKLES, SAFETENSORS, fire
from tokencompose_core.checkpoints.check_folder import check_folder
from tokencompose_core.checkpoints.pipeline_class import load_options
from tokencompose_core.checkpoints.read_weights import read_weights

INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.39.0",
    "unet": ["diffusers", "UNet2DConditionModel"],
}


@pytest.mark.parametrize("suffix", ["pth", "bin", "pt"])
@pytest.mark.parametrize("kind", PICKLES)
def test_program_among_weights_does_not_run(tmp_path, kind, suffix):
    path, marker = tmp_path / f"model.{suffix}", tmp_path / "marker"
    PICKLES[kind](path, marker)
    with pytest.raises(ValueError, match=rf"model\.{suffix} holds no weights.*get it again"):
        read_weights(path)
    assert not marker.exists()
    fire(path)
    assert marker.exists()


@pytest.mark.parametrize("kind", SAFETENSORS)
def test_damaged_safetensors_are_refused(tmp_path, kind):
    path = tmp_path / "model.safetensors"
    path.write_bytes(SAFETENSORS[kind])
    with pytest.raises(ValueError, match=r"model\.safetensors holds no weights"):
        read_weights(path)
    with pytest.raises(ValueError, match=r"model\.safetensors holds no weights"):
        check_folder(tmp_path)


def test_weights_are_read(tmp_path):
    weights = {"a": torch.arange(3.0)}
    save_file(weights, tmp_path / "a.safetensors")
    torch.save(weights, tmp_path / "a.pth")
    for name in ("a.safetensors", "a.pth"):
        assert read_weights(tmp_path / name)["a"].tolist() == [0, 1, 2]
    torch.save([1, 2], tmp_path / "a.pth")
    with pytest.raises(ValueError, match="holds a list"):
        read_weights(tmp_path / "a.pth")


def test_folder_with_a_program_for_weights_is_refused_unless_there_are_safetensors(tmp_path):
    marker = tmp_path / "marker"
    folder = tmp_path / "model"
    folder.mkdir()
    PICKLES["torch"](folder / "pytorch_model.bin", marker)
    with pytest.raises(ValueError, match=r"pytorch_model\.bin .*wants to call (posix|os)\.system"):
        check_folder(folder)
    save_file({"a": torch.zeros(1)}, folder / "model.safetensors")
    check_folder(folder)
    assert not marker.exists()


@pytest.mark.parametrize("target", ["/etc/hostname", "../outside.json", "loop", "/"])
def test_link_that_leaves_the_folder_is_refused(tmp_path, target):
    (tmp_path / "outside.json").write_text("{}")
    folder = tmp_path / "model"
    folder.mkdir()
    os.symlink(target, folder / "loop")
    with pytest.raises(ValueError, match="loop is a link that leaves the model's folder"):
        check_folder(folder)


def test_links_of_a_hubs_cache_are_followed(tmp_path):
    blobs, folder = tmp_path / "models--a--b/blobs", tmp_path / "models--a--b/snapshots/1"
    blobs.mkdir(parents=True)
    folder.mkdir(parents=True)
    (blobs / "0").write_text("{}")
    (folder / "config.json").symlink_to("../../blobs/0")
    check_folder(folder)
    (folder / "vocab.json").symlink_to("../../../outside")
    with pytest.raises(ValueError, match=r"vocab\.json is a link"):
        check_folder(folder)


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("config.json", {"auto_map": {"AutoConfig": "evil.Config"}}),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["evil.Tokenizer", None]}}),
        ("preprocessor_config.json", {"auto_map": {"AutoImageProcessor": "evil.Images"}}),
        ("config.json", {"text_config": {"auto_map": {"AutoConfig": "evil.Config"}}}),
        ("config.json", {"custom_pipelines": {"evil": {"impl": "evil.Pipeline"}}}),
        (
            "open_clip_config.json",
            {"model_cfg": {"text_cfg": {"tokenizer_kwargs": {"trust_remote_code": True}}}},
        ),
        ("config.json", None),
    ],
)
def test_config_that_names_code_is_refused(tmp_path, name, config):
    folder = tmp_path / "deep/model"
    folder.mkdir(parents=True)
    (folder / name).write_text("{" if config is None else json.dumps(config))
    with pytest.raises(ValueError, match=name):
        check_folder(tmp_path / "deep")


@pytest.mark.parametrize(
    "changes",
    [
        {"_class_name": ["evil_pipeline", "EvilPipeline"]},
        {"_class_name": "EvilPipeline"},
        {"_class_name": None},
        {"unet": ["evil_module", "UNet2DConditionModel"]},
        {"unet": ["os", "system"]},
        {"vae": ["subprocess", "Popen"]},
        {"scheduler": ["antigravity", "Scheduler"]},
    ],
)
def test_pipeline_that_names_code_is_refused(tmp_path, changes):
    marker = tmp_path / "marker"
    for name in ("evil_pipeline", "unet/evil_module", "evil_module"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.py").write_text(f"open({str(marker)!r}, 'w').close()")
    (tmp_path / "model_index.json").write_text(json.dumps(INDEX | changes))
    with pytest.raises(ValueError, match=r"expected a StableDiffusion|may run any program"):
        load_options(tmp_path)
    assert not marker.exists()


def test_pipeline_without_a_table_of_parts_is_refused(tmp_path):
    (tmp_path / "model_index.json").write_text("[]")
    with pytest.raises(ValueError, match=r"model_index\.json: a table of a pipeline's parts"):
        load_options(tmp_path)


def test_settings_are_checked_without_importing_diffusers():
    program = (
        "import sys; from tests.conftest import MODELS;"
        "from tokencompose_core.checkpoints.pipeline_class import load_options;"
        "from tokencompose_core.evaluation.prepare_pipeline import check_precision;"
        "check_precision('cpu', 'float32'); load_options(MODELS / 'stable_diffusion');"
        "sys.exit('diffusers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT).returncode == 0
