import json

import numpy as np
import open_clip
import pytest
import torch
from torch import nn

from tests.conftest import MODELS
from tokencompose_core.captions.clip import best_caption, load_clip, score_captions
from tokencompose_core.pocket.floors.held_out import draw_held_out


@pytest.fixture
def tagged(tmp_path, monkeypatch):
    """Weights of two tags, of which one was trained with QuickGELU, for one name of open_clip's."""
    config = {
        "embed_dim": 8,
        "vision_cfg": {"image_size": 16, "patch_size": 8, "head_width": 4, "width": 8, "layers": 1},
        "text_cfg": {"width": 8, "heads": 2, "layers": 1},
    }
    (tmp_path / "Tiny-ViT.json").write_text(json.dumps(config))
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIGS", {})
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIG_PATHS", [])
    open_clip.add_model_config(tmp_path)
    tags = {"openai": {"url": "none", "quick_gelu": True}, "other": {"url": "none"}}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "Tiny-ViT", tags)
    weights = tmp_path / "weights.pt"
    torch.save(open_clip.create_model("Tiny-ViT").state_dict(), weights)
    monkeypatch.setattr(open_clip.factory, "download_pretrained", lambda *_, **__: str(weights))
    return "Tiny-ViT", weights


@pytest.mark.filterwarnings("error:QuickGELU mismatch")
def test_weights_get_the_activation_that_they_were_trained_with(tagged):
    name, weights = tagged
    for pretrained, activation in (
        ("openai", open_clip.transformer.QuickGELU),
        ("other", nn.GELU),
        (str(weights), nn.GELU),
    ):
        blocks = load_clip(name, pretrained).model.visual.transformer.resblocks
        assert [type(block.mlp.gelu) for block in blocks] == [activation]


def test_batching_changes_no_score_and_scores_are_cosines():
    clip = load_clip(MODELS / "clip", "")
    held_out = draw_held_out(5, seed=0)
    images = [item.image for item in held_out]
    captions = [
        [i.sentence.text, i.wrong.text, "things"][: 1 + n % 3] for n, i in enumerate(held_out)
    ]
    whole, parts = (
        [one.scores for one in score_captions(clip, images.__getitem__, captions, batch_size=size)]
        for size in (64, 2)
    )
    assert [len(own) for own in whole] == [1, 2, 3, 1, 2]
    assert all(np.allclose(a, b, atol=1e-5) for a, b in zip(whole, parts, strict=True))
    assert list(score_captions(clip, images.__getitem__, [], batch_size=2)) == []
    features = clip.model.encode_image(clip.preprocess(images[1])[None], normalize=True)
    text = clip.model.encode_text(clip.tokenizer([captions[1][1]]), normalize=True)
    assert np.isclose(whole[1][1], float(features @ text.T), atol=1e-5)


def test_images_that_cannot_be_loaded_leave_the_others_as_they_are():
    clip = load_clip(MODELS / "clip", "")
    held_out = draw_held_out(6, seed=0)
    captions = [[item.sentence.text, item.wrong.text] for item in held_out]
    images = [item.image for item in held_out]
    whole = list(score_captions(clip, images.__getitem__, captions, batch_size=2))
    assert [one.size for one in whole] == [image.size for image in images]
    # The whole of the second batch, and one of the third.
    some = list(
        score_captions(
            clip, lambda i: None if i in (2, 3, 5) else images[i], captions, batch_size=2
        )
    )
    assert [one is None for one in some] == [False, False, True, True, False, True]
    for index in (0, 1, 4):
        assert np.allclose(some[index].scores, whole[index].scores, atol=1e-5)


def test_best_caption_is_the_highest_and_the_first_of_equals():
    assert best_caption(["a", "b", "c"], [0.1, 0.3, 0.2]) == "b"
    assert best_caption(["a", "b", "c"], [0.3, 0.3, 0.2]) == "a"
    assert best_caption(["a"], [-1.0]) == "a"
