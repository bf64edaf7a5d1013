"""Refuse, before anything is computed, an evaluation that would fail later."""

from collections.abc import Sequence

from data_schemas.configs.evaluate_config import EvaluateConfig
from tasks.benchmarks import list_compositions
from tasks.detect_objects import check_detectors
from tasks.image_extractors import check_clip, check_extractor
from tasks.model_under_test import ModelUnderTest, check_models
from tasks.prepare_source import check_source


def check_evaluation(models: Sequence[ModelUnderTest], config: EvaluateConfig) -> None:
    """Look for all that an evaluation reads: prompts, detectors, models and real images.

    No weights are loaded and no image is looked at, so that flows which train first call this too.

    Args:
        models: Those that are there already.
        config: The evaluation.

    Raises:
        FileNotFoundError: If a file or a model is not there, naming the field.
        ValueError: If a file or a model is not what it should be, naming the field.
    """
    if "quality" in config.benchmarks:
        for name, settings in config.quality.items():
            check_extractor(settings, f"evaluate.quality.{name}")
            check_source(settings.source, f"evaluate.quality.{name}.source")
    if "clip_score" in config.benchmarks:
        check_clip(config.clip_score, "evaluate.clip_score")
    check_detectors(list_compositions(config), config.device)
    check_models(models, config)
