import pytest
from pydantic import ValidationError

from data_schemas.configs.curate_config import CurateConfig

HUB_DETECTOR = {
    "detector_backend": "transformers",
    "detector_config": "",
    "text_encoder": "",
    "detector_checkpoint": "IDEA-Research/grounding-dino-tiny",
}
HUB_SEGMENTER = {
    "segmenter_backend": "transformers",
    "segmenter_config": "",
    "segmenter_checkpoint": "syscv-community/sam-hq-vit-huge",
}


@pytest.mark.parametrize("profile", ["pocket", "paper"])
def test_each_model_may_come_from_either_package(profile):
    for changes in ({}, HUB_DETECTOR, HUB_SEGMENTER, HUB_DETECTOR | HUB_SEGMENTER):
        mask = CurateConfig.load(profile, mask=changes).mask
        assert mask.model_dump().items() >= changes.items()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"detector_backend": "transformers"},
            'set detector_config and text_encoder to ""',
        ),
        (
            HUB_DETECTOR | {"text_encoder": "bert-base-uncased"},
            'set text_encoder to ""',
        ),
        (
            HUB_DETECTOR | {"detector_checkpoint": "checkpoints/groundingdino_swint_ogc.pth"},
            "folder or hub name as detector_checkpoint, not the file",
        ),
        (
            HUB_SEGMENTER | {"segmenter_config": "vit_h"},
            'set segmenter_config to ""',
        ),
        (
            {"detector_config": "", "text_encoder": ""},
            "detector_backend 'groundingdino' needs detector_config and text_encoder",
        ),
        (
            {"segmenter_config": ""},
            "segmenter_backend 'segment_anything_hq' needs segmenter_config",
        ),
        ({"segmenter_checkpoint": ""}, "segmenter_checkpoint is empty"),
        ({"detector_revision": "main"}, "detector_revision is for detector_backend 'transformers'"),
    ],
)
def test_settings_of_the_other_package_are_refused_with_the_remedy(changes, message):
    with pytest.raises(ValidationError, match=message):
        CurateConfig.load(mask=changes)
