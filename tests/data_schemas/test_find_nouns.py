import pytest
from pydantic import ValidationError

from data_schemas.configs.evaluate_config import EvaluateConfig
from data_schemas.configs.finetune_config import FinetuneConfig
from data_schemas.find_nouns import find_nouns

WITHIN_ANOTHER = {"prompt": "a photo of a wine glass.", "nouns": ["glass", "wine glass"]}
NO_WORD = {"prompt": "a category of things", "nouns": ["cat"]}


def test_nouns_are_whole_words_and_longer_ones_are_found_first():
    assert find_nouns("a cat and a hat", ["hat", "cat"]) == [(12, 15), (2, 5)]
    assert find_nouns("a hot dog and a dog", ["dog", "hot dog"]) == [(16, 19), (2, 9)]
    for prompt in ("a cat", "a hotdog"):
        with pytest.raises(ValueError, match="does not contain 'dog'"):
            find_nouns(prompt, ["dog"])


@pytest.mark.parametrize("picture", [WITHIN_ANOTHER, NO_WORD], ids=["within another", "no word"])
def test_configs_refuse_nouns_that_could_not_be_drawn(picture):
    refused = f"does not contain '{picture['nouns'][0]}'"
    with pytest.raises(ValidationError, match=refused):
        EvaluateConfig.load(attention=picture)
    with pytest.raises(ValidationError, match=refused):
        FinetuneConfig.load(validation_prompts=[picture])
