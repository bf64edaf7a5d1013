"""Backends of the stage `mask` that someone adds, beside those of the two packages."""

from typing import Annotated, Literal

from pydantic import Field

from data_schemas.configs.curate_config import CurateConfig
from data_schemas.configs.mask_config import MaskConfig
from tasks.mask_models import check_mask_models, model_parts


class OwnMaskConfig(MaskConfig):
    detector_backend: Annotated[Literal["own", "other"], Field(description="Packages.")]
    segmenter_backend: Annotated[Literal["own", "other"], Field(description="Packages.")]


class OwnCurateConfig(CurateConfig):
    mask: OwnMaskConfig


def load(**changes: str) -> OwnCurateConfig:
    own = {"detector_backend": "own", "segmenter_backend": "own", "detector_checkpoint": "x"}
    files = {"segmenter_checkpoint": "x", "detector_config": "", "segmenter_config": ""}
    return OwnCurateConfig.load(mask=own | files | {"text_encoder": ""} | changes, device="cpu")


def test_backend_of_another_package_needs_no_files_of_the_two():
    check_mask_models(load())


def test_backend_is_in_the_key_with_all_that_it_may_read():
    def parts(**changes: str) -> dict[str, str]:
        return model_parts(load(**changes).mask)

    for name in ("detector_backend", "segmenter_backend"):
        assert parts(**{name: "other"}) != parts()
    for name in ("text_encoder", "detector_config", "segmenter_config"):
        assert parts(**{name: "something"}) != parts()
