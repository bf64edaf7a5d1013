import json

import pytest
from huggingface_hub import ModelCard

from tokencompose_core.training.model_card import write_model_card


@pytest.mark.parametrize(
    ("terms", "title"),
    [
        (["token"], "with grounded nouns"),
        ([], "on the denoising loss alone"),
        (["token", "overlap"], "with losses on the attention of nouns"),
    ],
)
def test_card_is_read_by_the_hubs_own_library(tmp_path, terms, title):
    write_model_card(
        tmp_path,
        base_model="CompVis/stable-diffusion-v1-4",
        terms=terms,
        settings={"seed": 3, "num_steps": 7},
        data_digests=["ab12"],
        measured={"inside (held out, after)": 0.25},
        versions={"torch": "2.13.0"},
    )
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.base_model == "CompVis/stable-diffusion-v1-4"
    assert card.data.library_name == "diffusers"
    assert f"fine-tuned {title}" in card.text
    assert ("fall on that noun's segmentation mask" in card.text) == (terms == ["token"])
    assert ("overlap" in card.text) == ("overlap" in terms)
    assert ("tokencompose" in card.data.tags) == bool(terms)
    settings = card.text.split("```json\n")[1].split("```")[0]
    assert json.loads(settings) == {"seed": 3, "num_steps": 7}
    for text in ("sha256:ab12", "torch 2.13.0", "| inside (held out, after) | 0.2500 |"):
        assert text in card.text
