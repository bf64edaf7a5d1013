"""Real images that are too few once some could not be read; no server."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_schemas.configs.evaluate_config import EvaluateConfig
from tasks.reference_features import FEATURES_NAME, check_reference
from tasks.stage import Input, open_store
from tokencompose_core.evaluation.feature_table import write_features


def test_images_that_are_left_have_to_be_enough_for_a_subset_of_kid(store_dir):
    def write(folder: Path) -> dict[str, Any]:
        rows = [None, *np.ones((5, 4), np.float32)]
        write_features(folder / FEATURES_NAME, list("abcdef"), rows, 4)
        return {}

    published = open_store().publish("reference-v1-x", "reference", write)
    features = [Input.of(published, FEATURES_NAME)]

    def check(**changes: Any) -> None:
        quality = {"num_pairs": 6, "kid_subset_size": 5, "allow_few_images": True, **changes}
        config = EvaluateConfig.load(quality={"pocket": quality})
        check_reference(features, config.quality["pocket"], "evaluate.quality.pocket")

    check()
    with pytest.raises(ValueError, match=r"^evaluate\.quality\.pocket: kid_subset_size is 6, but"):
        check(kid_subset_size=6)
