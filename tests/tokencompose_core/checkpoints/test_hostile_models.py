"""Programs in checkpoints and configs of every model that this project opens: none runs."""

import json
import shutil
from pickle import UnpicklingError

import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import MODELS
from tests.hostile_checkpoints import PICKLES, fire
from tests.tiny_models import write_model
from tokencompose_core.captions.clip import load_clip
from tokencompose_core.evaluation.generate import load_pipeline
from tokencompose_core.evaluation.prepare_pipeline import add_lora
from tokencompose_core.masking.grounding_dino import (
    load_grounding_dino,
    load_grounding_dino_config,
)
from tokencompose_core.masking.sam_hq import load_sam_hq
from tokencompose_core.masking.transformers_checkpoint import check_model_type
from tokencompose_core.nouns.tagger import load_tagger

DINO = MODELS / "grounding_dino"


@pytest.mark.parametrize("kind", PICKLES)
def test_grounding_dino_checkpoint_is_refused(tmp_path, kind):
    path, marker = tmp_path / "dino.pth", tmp_path / "marker"
    PICKLES[kind](path, marker)
    with pytest.raises(ValueError, match=r"dino\.pth holds no weights"):
        load_grounding_dino(DINO / "config.json", path, str(DINO / "bert"))
    assert not marker.exists()
    fire(path)
    assert marker.exists()


@pytest.mark.parametrize(
    "line",
    [
        "open('MARKER', 'w').close()",
        "import os; os.system('touch MARKER')",
        "hidden_dim = open('MARKER', 'w').close()",
        "hidden_dim = [x for x in [open('MARKER', 'w')]]",
        "if True:\n    hidden_dim = 256",
        "_base_ = ['other.py']\nexec('x = 1')",
        "hidden_dim.x = 1",
        "hidden_dim = " + "(" * 5000,
    ],
)
def test_grounding_dino_config_is_not_run(tmp_path, line):
    marker = tmp_path / "marker"
    path = tmp_path / "config.py"
    path.write_text(f"batch_size = 1\n{line.replace('MARKER', str(marker))}\n")
    with pytest.raises(ValueError, match=r"config\.py: a model's config may give values to names"):
        load_grounding_dino_config(path, "bert")
    assert not marker.exists()


def test_sam_hq_checkpoint_is_refused(tmp_path):
    path, marker = tmp_path / "sam.pth", tmp_path / "marker"
    PICKLES["torch"](path, marker)
    with pytest.raises(ValueError, match=r"sam\.pth .*wants to call (posix|os)\.system"):
        load_sam_hq(MODELS / "sam_hq/config.json", path)
    assert not marker.exists()


@pytest.mark.parametrize("name", ["open_clip_pytorch_model.bin", "model.pth"])
def test_clip_checkpoint_is_refused_and_safetensors_come_first(tmp_path, name):
    folder, marker = tmp_path / "clip", tmp_path / "marker"
    folder.mkdir()
    shutil.copy(MODELS / "clip/open_clip_config.json", folder)
    PICKLES["torch"](folder / name, marker)
    with pytest.raises(ValueError, match="wants to call"):
        load_clip(folder, "")
    shutil.copy(MODELS / "clip/open_clip_model.safetensors", folder)
    loaded = load_clip(folder, "").model.state_dict()["text_projection"]
    saved = load_file(folder / "open_clip_model.safetensors")["text_projection"]
    assert torch.equal(loaded, saved)
    assert not marker.exists()


def test_clip_whose_tokenizer_is_a_program_is_refused(tmp_path):
    folder, marker = tmp_path / "clip", tmp_path / "marker"
    shutil.copytree(MODELS / "clip", folder)
    path = folder / "open_clip_config.json"
    config = json.loads(path.read_text())
    config["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = "evil"
    config["model_cfg"]["text_cfg"]["tokenizer_kwargs"] = {"trust_remote_code": True}
    path.write_text(json.dumps(config))
    (folder / "evil.py").write_text(f"open({str(marker)!r}, 'w').close()")
    with pytest.raises(ValueError, match=r"open_clip_config\.json has 'trust_remote_code'"):
        load_clip(folder, "")
    assert not marker.exists()


def test_model_of_transformers_whose_config_is_a_program_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"auto_map": {"AutoConfig": "evil.Config"}}))
    marker = tmp_path / "marker"
    (tmp_path / "evil.py").write_text(f"open({str(marker)!r}, 'w').close()")
    with pytest.raises(ValueError, match=r"config\.json has 'auto_map', .*remove that entry"):
        check_model_type(str(tmp_path), "grounding-dino")
    assert not marker.exists()


@pytest.mark.parametrize("part", ["unet", "text_encoder"])
def test_stable_diffusion_checkpoint_is_refused_and_safetensors_come_first(tmp_path, part):
    folder, marker = write_model(tmp_path / "sd", "sd1"), tmp_path / "marker"
    (weights,) = (folder / part).glob("*.safetensors")
    pickle_path = weights.with_name(weights.stem.replace("model", "pytorch_model") + ".bin")
    if part == "unet":
        pickle_path = weights.with_suffix(".bin")
    PICKLES["torch"](pickle_path, marker)
    load_pipeline(folder)
    weights.unlink()
    with pytest.raises(ValueError, match=rf"{pickle_path.name} .*wants to call"):
        load_pipeline(folder)
    assert not marker.exists()


def test_lora_that_is_a_program_is_refused(tmp_path):
    pipeline, marker = load_pipeline(write_model(tmp_path / "sd", "sd1")), tmp_path / "marker"
    PICKLES["torch"](tmp_path / "lora.bin", marker)
    with pytest.raises(ValueError, match=r"lora\.bin .*wants to call"):
        add_lora(pipeline, tmp_path / "lora.bin")
    assert not marker.exists()


@pytest.mark.parametrize("kind", PICKLES)
def test_tagger_is_refused_unless_it_is_trusted(tmp_path, monkeypatch, kind):
    path, marker = tmp_path / "tagger.pt", tmp_path / "marker"
    PICKLES[kind](path, marker)
    with pytest.raises(ValueError, match=rf"TOKENCOMPOSE_TRUSTED_TAGGERS={path}"):
        load_tagger(path)
    assert not marker.exists()
    monkeypatch.setenv("TOKENCOMPOSE_TRUSTED_TAGGERS", f"other,{path}")
    with pytest.raises((KeyError, RuntimeError, UnpicklingError)):
        load_tagger(path)
    if kind != "pickle":  # which torch refuses before it opens it
        assert marker.exists()


@pytest.mark.parametrize(
    "embeddings",
    [
        {"__cls__": "CharacterEmbeddings", "path_to_char_dict": "FILE"},
        {"__cls__": "StackedEmbeddings", "embeddings": [{"__cls__": "WordEmbeddings"}]},
        {"__cls__": "TransformerWordEmbeddings", "model": "evil/model"},
        {"__cls__": "MuseCrosslingualEmbeddings"},
        "FILE",
        None,
    ],
)
def test_tagger_that_opens_other_files_is_refused(tmp_path, embeddings):
    marker = tmp_path / "marker"
    PICKLES["pickle"](tmp_path / "file", marker)
    state = torch.load(MODELS / "tagger/pytorch_model.bin", weights_only=False)
    text = json.dumps(embeddings).replace("FILE", str(tmp_path / "file"))
    state["embeddings"] = json.loads(text)
    torch.save(state, tmp_path / "tagger.pt", pickle_protocol=4)
    with pytest.raises(ValueError, match=r"tagger\.pt is not opened"):
        load_tagger(tmp_path / "tagger.pt")
    assert not marker.exists()


def test_tagger_that_opens_other_files_would_run_a_program(tmp_path):
    from flair.embeddings import CharacterEmbeddings

    marker = tmp_path / "marker"
    PICKLES["pickle"](tmp_path / "file", marker)
    with pytest.raises((TypeError, KeyError)):
        CharacterEmbeddings.from_params({"path_to_char_dict": str(tmp_path / "file")})
    assert marker.exists()
