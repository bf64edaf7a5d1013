import json

import pytest
from huggingface_hub import ModelCard

from tokencompose_core.training.model_card import write_model_card


@pytest.mark.parametrize(
    ("is_grounded", "title"), [(True, "grounded nouns"), (False, "the denoising loss alone")]
)
def test_card_is_read_by_the_hubs_own_library(tmp_path, is_grounded, title):
    write_model_card(
        tmp_path,
        base_model="CompVis/stable-diffusion-v1-4",
        is_grounded=is_grounded,
        settings={"seed": 3, "num_steps": 7},
        data_digests=["ab12"],
        measured={"inside (held out, after)": 0.25},
        versions={"torch": "2.13.0"},
    )
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.base_model == "CompVis/stable-diffusion-v1-4"
    assert card.data.library_name == "diffusers"
    assert f"fine-tuned {'with' if is_grounded else 'on'} {title}" in card.text
    assert ("tokencompose" in card.data.tags) == is_grounded
    settings = card.text.split("```json\n")[1].split("```")[0]
    assert json.loads(settings) == {"seed": 3, "num_steps": 7}
    for text in ("sha256:ab12", "torch 2.13.0", "| inside (held out, after) | 0.2500 |"):
        assert text in card.text
