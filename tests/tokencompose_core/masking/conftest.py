"""The pocket world's models, which no test of this folder changes."""

import pytest

from tests.conftest import MODELS
from tokencompose_core.masking.grounding_dino import load_grounding_dino
from tokencompose_core.masking.sam_hq import load_sam_hq


@pytest.fixture(scope="package")
def detector():
    folder = MODELS / "grounding_dino"
    return load_grounding_dino(
        folder / "config.json", folder / "model.safetensors", str(folder / "bert")
    )


@pytest.fixture(scope="package")
def segmenter():
    return load_sam_hq(MODELS / "sam_hq/config.json", MODELS / "sam_hq/model.safetensors")
