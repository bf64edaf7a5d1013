"""Networks whose features say how alike images are."""

from functools import lru_cache
from typing import TYPE_CHECKING

from data_schemas.configs.quality_config import ClipModel, InceptionExtractor, QualityConfig
from tasks.devices import Device, resolve_device
from tokencompose_core.checkpoints.locate import identity, locate, require

if TYPE_CHECKING:
    from tokencompose_core.captions.clip import Clip
    from tokencompose_core.evaluation.image_features import Extractor


def check_extractor(settings: QualityConfig, field: str) -> None:
    """Look for the weights on this machine, before anything is computed.

    Args:
        settings: With the extractor.
        field: Where the settings stand in the config.

    Raises:
        FileNotFoundError: If a file of weights, or a pocket model, is not there, naming the field.
    """
    extractor = settings.extractor
    try:
        if isinstance(extractor, InceptionExtractor):
            require(extractor.weights)
        else:
            locate(extractor.model)
    except FileNotFoundError as error:
        name = "weights" if isinstance(extractor, InceptionExtractor) else "model"
        raise FileNotFoundError(f"{field}.extractor.{name}: {error}") from error


def weights_identity(extractor: InceptionExtractor | ClipModel) -> str:
    """What stands for the weights in keys and results."""
    if isinstance(extractor, InceptionExtractor):
        return identity(extractor.weights)
    return identity(extractor.model, extractor.pretrained)


def load_extractor(settings: QualityConfig, device: Device) -> "Extractor":
    """Load the extractor; the last one is kept."""
    return _extractor(settings.extractor, resolve_device(device))


@lru_cache(maxsize=1)
def _extractor(extractor: InceptionExtractor | ClipModel, device: str) -> "Extractor":
    from tokencompose_core.evaluation.image_features import clip_extractor, load_inception

    if isinstance(extractor, InceptionExtractor):
        return load_inception(require(extractor.weights), device=device)
    return clip_extractor(load_clip_model(extractor.model, extractor.pretrained, device))


@lru_cache(maxsize=1)
def load_clip_model(model: str, pretrained: str, device: str) -> "Clip":
    """Load a CLIP by its names in a config; the last one is kept."""
    from tokencompose_core.captions.clip import load_clip

    return load_clip(locate(model) or model, pretrained, device=device)


def describe_resizing(settings: QualityConfig) -> str:
    """What happens to an image before the network looks at it, to stand beside a figure."""
    first = f"short side to {settings.resolution} px, centre crop"
    if isinstance(settings.extractor, InceptionExtractor):
        return f"{first}, then 299 px as TensorFlow 1 resizes"
    return f"{first}, then as the CLIP prepares images"
