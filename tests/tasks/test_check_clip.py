"""Names of a CLIP that are refused before anything is computed."""

import json

import pytest
import torch

from data_schemas.configs.quality_config import ClipModel
from tasks.image_extractors import check_clip, weights_identity


def check(model: str, pretrained: str = "") -> None:
    check_clip(ClipModel(model=model, pretrained=pretrained), "evaluate.clip_score")


def test_weights_of_a_hub_are_refused_where_none_is_asked(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        FileNotFoundError, match=r"score\.model: 'ViT-L-14-336' is not on this mach"
    ):
        check("ViT-L-14-336", "openai")
    with pytest.raises(FileNotFoundError, match=r"score\.model: 'hf-hub:no/body' is not on this m"):
        check("hf-hub:no/body")


def test_models_of_open_clip_and_folders_are_taken(tmp_path, hub_may_be_asked):
    weights = tmp_path / "weights.pt"
    torch.save({}, weights)
    for model, pretrained in (
        ("pocket:clip", ""),
        ("ViT-L-14", "openai"),
        ("ViT-B/32", "laion2b-s34b-b79k"),
        ("RN50", str(weights)),
    ):
        check(model, pretrained)


def test_what_open_clip_does_not_have_is_refused(tmp_path):
    field = r"^evaluate\.clip_score\.model: "
    with pytest.raises(FileNotFoundError, match=field + "model 'pocket:clop'"):
        check("pocket:clop")
    with pytest.raises(ValueError, match=field + "'ViT-L-41' is neither .*, which has .*ViT-L-14"):
        check("ViT-L-41", "openai")
    for tag in ("opneai", ""):
        with pytest.raises(ValueError, match=f"pretrained is '{tag}', .* tag of ViT-L-14.*openai"):
            check("ViT-L-14", tag)
    with pytest.raises(FileNotFoundError, match=field + r".* no open_clip_config\.json at"):
        check(str(tmp_path))
    config = {"model_cfg": {"text_cfg": {"trust_remote_code": True}}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=field + ".*which runs code that came with the model"):
        check(str(tmp_path))


def test_a_folder_without_weights_is_refused(tmp_path):
    (tmp_path / "open_clip_config.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match=r"score\.model: .* no open_clip_model\.saf"):
        check(str(tmp_path))
    weights = tmp_path / "open_clip_pytorch_model.bin"
    torch.save({}, weights)
    check(str(tmp_path))
    weights.write_bytes(weights.read_bytes()[:-30])
    with pytest.raises(ValueError, match=r"score\.model: .* \(its end is missing\)"):
        check(str(tmp_path))


def test_a_file_that_open_clip_will_not_open_is_refused(tmp_path):
    path = tmp_path / "ViT-L-14.pt"
    torch.jit.script(torch.nn.Identity()).save(path)  # OpenAI's own files are such
    with pytest.raises(ValueError, match=r"^evaluate\.clip_score\.model: .* \(it is TorchScript"):
        check("ViT-L-14", str(path))


def test_a_file_of_weights_is_known_by_what_it_holds(tmp_path):
    def of(pretrained: str) -> str:
        return weights_identity(ClipModel(model="RN50", pretrained=pretrained))

    paths = [tmp_path / name for name in ("a.pt", "b.pt", "c.pt")]
    for path, content in zip(paths, ("one", "one", "another"), strict=True):
        path.write_text(content)
    same, again, other = (of(str(path)) for path in paths)
    assert same == again != other
    assert of("openai") == "RN50@openai"
