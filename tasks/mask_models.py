"""The two models of the stage `mask`: which ones its settings mean, and how they are loaded."""

from pathlib import Path
from typing import TYPE_CHECKING

from data_schemas.configs.curate_config import CurateConfig
from data_schemas.configs.mask_config import DetectorBackend, MaskConfig, SegmenterBackend
from tasks.devices import resolve_device
from tasks.kept_models import keep_last
from tasks.stage import PLANNER
from tokencompose_core.checkpoints.check_file import check_file
from tokencompose_core.checkpoints.check_weights import check_weights
from tokencompose_core.checkpoints.hub_access import naming_field, require_in_reach
from tokencompose_core.checkpoints.locate import (
    identity,
    local_or_hub,
    locate,
    require,
    require_unless_hub,
)

if TYPE_CHECKING:
    from tokencompose_core.masking.protocols import Detector, Segmenter

# As in segment-anything-hq's registry, whose import takes seconds.
SAM_HQ_TYPES = ("vit_h", "vit_l", "vit_b", "vit_tiny")
# The one name of a BERT that groundingdino-py knows; what has another is a folder.
_HUB_BERT = "bert-base-uncased"


def model_parts(settings: MaskConfig) -> dict[str, str]:
    """What stands for both models in the stage's key."""
    parts = {
        "detector": identity(settings.detector_checkpoint, settings.detector_revision),
        "segmenter": identity(settings.segmenter_checkpoint, settings.segmenter_revision),
    }
    # Those of the authors' packages have always been in keys without their names.
    if settings.detector_backend != "groundingdino":
        parts["detector_backend"] = settings.detector_backend
    if settings.segmenter_backend != "segment_anything_hq":
        parts["segmenter_backend"] = settings.segmenter_backend
    for field in ("detector_config", "text_encoder", "segmenter_config"):
        if name := getattr(settings, field):
            parts[field] = identity(name)
    return parts


def check_mask_models(config: CurateConfig) -> None:
    """Look whether the models of the stage `mask` are there, before any model is loaded.

    Raises:
        FileNotFoundError: If a checkpoint is missing, saying where to get it, or weights are in a
            model's folder.
        ValueError: If a model of transformers is of another kind, or the device does not compute
            in the precision asked for.
    """
    settings = config.mask
    if settings.detector_backend == "groundingdino":
        _require_file("detector_config", settings.detector_config)
        _check_checkpoint("detector_checkpoint", settings.detector_checkpoint)
        encoder = require_unless_hub(settings.text_encoder, "config.json")
        if encoder is None and settings.text_encoder != _HUB_BERT:
            raise ValueError(
                f"mask.text_encoder: groundingdino-py takes {_HUB_BERT!r} or a folder, and no other"
                f" name of the hub, received {settings.text_encoder!r}"
            )
        if PLANNER.get() is None:
            require_in_reach("mask.text_encoder", settings.text_encoder, "config.json")
        if encoder is not None and not encoder.is_dir():
            raise ValueError(f"mask.text_encoder: {encoder} is a file; a BERT is a folder")
        if encoder is not None:
            with naming_field("mask.text_encoder", settings.text_encoder):
                check_weights(encoder, "transformers")
    elif settings.detector_backend == "transformers":
        _check_transformers(settings, "detector", "grounding-dino")
    if settings.segmenter_backend == "segment_anything_hq":
        _check_checkpoint("segmenter_checkpoint", settings.segmenter_checkpoint)
        if settings.segmenter_config not in SAM_HQ_TYPES:
            _require_file("segmenter_config", settings.segmenter_config)
    elif settings.segmenter_backend == "transformers":
        _check_transformers(settings, "segmenter", "sam_hq")
    # A plan may be made on a machine that could not compute it.
    if settings.precision != "float32" and PLANNER.get() is None:
        from tokencompose_core.masking.precision import check_precision

        check_precision(resolve_device(config.device), settings.precision)


def _require_file(field: str, name: str) -> Path:
    path = require(name)
    if not path.is_file():
        raise ValueError(f"mask.{field}: {path} is a folder; with this backend it is a file")
    return path


def _check_checkpoint(field: str, name: str) -> None:
    path = _require_file(field, name)
    try:
        check_file(path)
    except ValueError as error:
        raise ValueError(f"mask.{field}: {error}") from error


def _check_transformers(settings: MaskConfig, part: str, model_type: str) -> None:
    from tokencompose_core.masking.transformers_checkpoint import check_model_type

    name, revision = (getattr(settings, f"{part}_{field}") for field in ("checkpoint", "revision"))
    # In keys a hub's name and revision stand for the model: a plan need not ask the hub for it.
    if PLANNER.get() is not None and require_unless_hub(name) is None:
        return
    require_in_reach(f"mask.{part}_checkpoint", name, "config.json", revision)
    try:
        check_model_type(local_or_hub(name), model_type, revision=revision)
    except OSError as error:
        raise FileNotFoundError(
            f"mask.{part}_checkpoint: {name!r} is neither a folder with a model of transformers nor"
            f" one that the hub gives: {error}"
        ) from error
    except ValueError as error:
        raise ValueError(f"mask.{part}_checkpoint: {error}") from error
    with naming_field(f"mask.{part}_checkpoint", name):
        check_weights(local_or_hub(name), "transformers", revision=revision)


def load_detector(settings: MaskConfig, device: str) -> "Detector":
    """Load Grounding DINO from the package that the settings name, if it is not loaded yet."""
    return _load_detector(
        settings.detector_backend,
        settings.detector_config,
        settings.detector_checkpoint,
        settings.detector_revision,
        settings.text_encoder,
        device,
        tuple(model_parts(settings).values()),
    )


# One of each is kept for the next partition, and for other thresholds. The contents see to it that
# a model which has changed is loaded again.
@keep_last
def _load_detector(
    backend: DetectorBackend,
    config: str,
    checkpoint: str,
    revision: str,
    text_encoder: str,
    device: str,
    contents: tuple[str, ...],
) -> "Detector":
    match backend:
        case "groundingdino":
            from tokencompose_core.masking.grounding_dino import load_grounding_dino

            return load_grounding_dino(
                require(config),
                require(checkpoint),
                local_or_hub(text_encoder),
                device=device,
            )
        case "transformers":
            from tokencompose_core.masking.transformers_grounding_dino import (
                load_transformers_grounding_dino,
            )

            return load_transformers_grounding_dino(
                local_or_hub(checkpoint),
                revision=revision,
                device=device,
            )


def load_segmenter(settings: MaskConfig, device: str) -> "Segmenter":
    """Load SAM-HQ from the package that the settings name, if it is not loaded yet."""
    return _load_segmenter(
        settings.segmenter_backend,
        settings.segmenter_config,
        settings.segmenter_checkpoint,
        settings.segmenter_revision,
        device,
        tuple(model_parts(settings).values()),
    )


@keep_last
def _load_segmenter(
    backend: SegmenterBackend,
    config: str,
    checkpoint: str,
    revision: str,
    device: str,
    contents: tuple[str, ...],
) -> "Segmenter":
    match backend:
        case "segment_anything_hq":
            from tokencompose_core.masking.sam_hq import load_sam_hq

            return load_sam_hq(locate(config) or config, require(checkpoint), device=device)
        case "transformers":
            from tokencompose_core.masking.transformers_sam_hq import load_transformers_sam_hq

            return load_transformers_sam_hq(
                local_or_hub(checkpoint),
                revision=revision,
                device=device,
            )
