"""The two models of the stage `mask`: which ones its settings mean, and how they are loaded."""

from functools import lru_cache
from typing import Any

from data_schemas.configs.curate_config import CurateConfig
from data_schemas.configs.mask_config import MaskConfig
from tasks.devices import resolve_device
from tokencompose_core.checkpoints.locate import identity, local_or_hub, locate, require


def model_parts(settings: MaskConfig) -> dict[str, str]:
    """What stands for both models in the stage's key."""
    parts = {
        "detector": identity(settings.detector_checkpoint, settings.detector_revision),
        "segmenter": identity(settings.segmenter_checkpoint, settings.segmenter_revision),
    }
    match settings.detector_backend:
        case "groundingdino":
            parts["detector_config"] = identity(settings.detector_config)
            parts["text_encoder"] = identity(settings.text_encoder)
        case "transformers":
            parts["detector_backend"] = settings.detector_backend
    match settings.segmenter_backend:
        case "segment_anything_hq":
            parts["segmenter_config"] = identity(settings.segmenter_config)
        case "transformers":
            parts["segmenter_backend"] = settings.segmenter_backend
    return parts


def check_mask_models(config: CurateConfig) -> None:
    """Look whether the models of the stage `mask` are there, before any model is loaded.

    Raises:
        FileNotFoundError: If a checkpoint is missing, saying where to get it.
        ValueError: If a model of transformers is of another kind, or the device does not compute
            in the precision asked for.
    """
    settings = config.mask
    if settings.detector_backend == "groundingdino":
        require(settings.detector_config)
        require(settings.detector_checkpoint)
    else:
        _check_transformers(settings, "detector", "grounding-dino")
    if settings.segmenter_backend == "segment_anything_hq":
        require(settings.segmenter_checkpoint)
    else:
        _check_transformers(settings, "segmenter", "sam_hq")
    if settings.precision != "float32":
        from tokencompose_core.masking.precision import check_precision

        check_precision(resolve_device(config.device), settings.precision)


def _check_transformers(settings: MaskConfig, part: str, model_type: str) -> None:
    from tokencompose_core.masking.transformers_checkpoint import check_model_type

    name, revision = (getattr(settings, f"{part}_{field}") for field in ("checkpoint", "revision"))
    try:
        check_model_type(local_or_hub(name), model_type, revision=revision)
    except OSError as error:
        raise FileNotFoundError(
            f"mask.{part}_checkpoint: {name!r} is neither a folder with a model of transformers nor"
            f" one that the hub gives: {error}"
        ) from error
    except ValueError as error:
        raise ValueError(f"mask.{part}_checkpoint: {error}") from error


# One of each is kept for the next partition.
@lru_cache(maxsize=1)
def load_detector(settings: MaskConfig, device: str) -> Any:
    """Load Grounding DINO from the package that the settings name."""
    match settings.detector_backend:
        case "groundingdino":
            from tokencompose_core.masking.grounding_dino import load_grounding_dino

            return load_grounding_dino(
                require(settings.detector_config),
                require(settings.detector_checkpoint),
                local_or_hub(settings.text_encoder),
                device=device,
            )
        case "transformers":
            from tokencompose_core.masking.transformers_grounding_dino import (
                load_transformers_grounding_dino,
            )

            return load_transformers_grounding_dino(
                local_or_hub(settings.detector_checkpoint),
                revision=settings.detector_revision,
                device=device,
            )


@lru_cache(maxsize=1)
def load_segmenter(settings: MaskConfig, device: str) -> Any:
    """Load SAM-HQ from the package that the settings name."""
    match settings.segmenter_backend:
        case "segment_anything_hq":
            from tokencompose_core.masking.sam_hq import load_sam_hq

            config = settings.segmenter_config
            return load_sam_hq(
                locate(config) or config, require(settings.segmenter_checkpoint), device=device
            )
        case "transformers":
            from tokencompose_core.masking.transformers_sam_hq import load_transformers_sam_hq

            return load_transformers_sam_hq(
                local_or_hub(settings.segmenter_checkpoint),
                revision=settings.segmenter_revision,
                device=device,
            )
